// SPDX-License-Identifier: MIT
// The kinds of bytes a controller keeps, handed around together.
#pragma once

#include "controller/blobs/artifact_store.h"
#include "controller/blobs/cache_store.h"
#include "controller/blobs/disk_watermark.h"
#include "controller/blobs/log_store.h"
#include "controller/blobs/report_store.h"
#include "controller/blobs/shell_records.h"

namespace cirrus::controller::blobs {

struct Stores {
  const Paths paths;
  const DiskWatermark disk;
  LogStore logs;
  CacheStore caches;
  ArtifactStore artifacts;
  ReportStore reports;
  ShellRecords shells;

  struct Watermark {
    DiskWatermark::FreeBytes free_bytes;
    std::uint64_t least_free = 0;
  };
  Stores(const Paths& all, const Clock& clock, Watermark watermark)
      : paths(all),
        disk(std::move(watermark.free_bytes), watermark.least_free),
        logs(all),
        caches(all, clock, {}, &disk),
        artifacts(all, {}, &disk),
        reports(all),
        shells(all) {}
  Stores(const Stores&) = delete;
  Stores& operator=(const Stores&) = delete;
};

}  // namespace cirrus::controller::blobs
