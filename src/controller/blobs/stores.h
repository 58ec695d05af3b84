// SPDX-License-Identifier: MIT
// The kinds of bytes a controller keeps, handed around together.
#pragma once

#include "controller/blobs/artifact_store.h"
#include "controller/blobs/cache_store.h"
#include "controller/blobs/log_store.h"
#include "controller/blobs/report_store.h"

namespace cirrus::controller::blobs {

struct Stores {
  LogStore logs;
  CacheStore caches;
  ArtifactStore artifacts;
  ReportStore reports;

  Stores(const Paths& paths, const Clock& clock)
      : logs(paths), caches(paths, clock), artifacts(paths), reports(paths) {}
};

}  // namespace cirrus::controller::blobs
