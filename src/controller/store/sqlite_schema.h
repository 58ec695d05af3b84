// SPDX-License-Identifier: MIT
#pragma once

#include "base/result.h"
#include "controller/store/sqlite_database.h"

namespace cirrus::controller::store {

/// The version this program writes.
int current_schema_version();

/// Brings the schema to version `up_to`, one transaction per step; tests stop early to make stores
/// of older programs. Errors: FailedPrecondition if the store was written by a newer program;
/// DataLoss.
Status migrate(Database& database, int up_to = current_schema_version());

}  // namespace cirrus::controller::store
