// SPDX-License-Identifier: MIT
#pragma once

#include "base/result.h"
#include "controller/store/sqlite_database.h"

namespace cirrus::controller::store {

/// The version this program writes.
int current_schema_version();

/// Brings the schema to the current version, one transaction per step.
/// Errors: FailedPrecondition if the store was written by a newer program; DataLoss.
Status migrate(Database& database);

}  // namespace cirrus::controller::store
