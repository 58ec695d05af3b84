// SPDX-License-Identifier: MIT
// The kinds of bytes a controller keeps, handed around together.
#pragma once

#include "controller/blobs/artifact_store.h"
#include "controller/blobs/cache_store.h"
#include "controller/blobs/log_store.h"
#include "controller/blobs/report_store.h"

namespace cirrus::controller::blobs {

struct Stores {
  const Paths paths;
  LogStore logs;
  CacheStore caches;
  ArtifactStore artifacts;
  ReportStore reports;

  Stores(const Paths& all, const Clock& clock)
      : paths(all), logs(all), caches(all, clock), artifacts(all), reports(all) {}
};

}  // namespace cirrus::controller::blobs
