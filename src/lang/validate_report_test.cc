// SPDX-License-Identifier: MIT
#include "lang/validate_report.h"

#include <gtest/gtest.h>

#include "lang/testing/evaluated.h"

namespace cirrus::lang {
namespace {

using testing::evaluated;

const char* kGood = "container: {image: a}\ntask_old: {}\nb_task: {env: {matrix: {A: 1, A: 2}}}\n";
const char* kBad = "task:\n  skip: perhaps\n";

TEST(ValidateReport, TextListsProblemsAndTasks) {
  const Outcome good = evaluated(kGood);
  EXPECT_EQ(validate_report(good, ReportFormat::Text, "ci.yml").value(),
            "ci.yml:2:1: warning: 'task_old' is not a task; did you mean 'old_task'?\n"
            "ci.yml: 2 tasks\n  b [A:1]\n  b [A:2]\n");
  EXPECT_EQ(validate_exit_code(good), 0);
  const Outcome bad = evaluated(kBad);
  EXPECT_EQ(validate_exit_code(bad), 1);
  EXPECT_TRUE(validate_report(bad, ReportFormat::Text, "ci.yml")
                  .value()
                  .starts_with("ci.yml:2:3: 'skip': "));
}

TEST(ValidateReport, JsonHoldsTasksAndIssues) {
  const std::string good = validate_report(evaluated(kGood), ReportFormat::Json, "ci.yml").value();
  EXPECT_TRUE(good.starts_with(R"({"schema_version":1,"tasks":[{"name":"b")")) << good;
  EXPECT_NE(good.find(R"("issues":[{"level":"WARNING",)"), std::string::npos) << good;
  EXPECT_NE(good.find(R"("path":"ci.yml","line":2,"column":1})"), std::string::npos) << good;
  EXPECT_TRUE(good.ends_with("\"tasksCountBeforeFiltering\":2}\n")) << good;
  const std::string bad = validate_report(evaluated(kBad), ReportFormat::Json, "ci.yml").value();
  EXPECT_TRUE(bad.starts_with(R"({"schema_version":1,"tasks":[],"issues":[{"level":"ERROR")"))
      << bad;
}

TEST(ValidateReport, SarifNamesRegions) {
  const std::string sarif = validate_report(evaluated(kBad), ReportFormat::Sarif, "ci.yml").value();
  EXPECT_NE(sarif.find(R"("level":"error")"), std::string::npos);
  EXPECT_NE(sarif.find(R"("uri":"ci.yml"},"region":{"startLine":2,"startColumn":3})"),
            std::string::npos)
      << sarif;
  EXPECT_EQ(validate_report(evaluated(kGood), ReportFormat::Sarif, "x")
                .value()
                .find("\"level\":\"error\""),
            std::string::npos);
}

TEST(ValidateReport, FormatsHaveNames) {
  EXPECT_EQ(report_format("sarif"), ReportFormat::Sarif);
  EXPECT_EQ(report_format("yaml"), std::nullopt);
}

}  // namespace
}  // namespace cirrus::lang
