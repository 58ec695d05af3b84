// SPDX-License-Identifier: MIT
#include "controller/blobs/report_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::blobs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Reports : public ::testing::Test {
 protected:
  static pb::ReportAnnotationsCommandRequest report_of(const std::vector<std::string>& messages) {
    pb::ReportAnnotationsCommandRequest report;
    report.mutable_task_identification()->set_secret("secret");
    for (const std::string& message : messages) report.add_annotations()->set_message(message);
    return report;
  }
  std::vector<std::string> messages(std::size_t after = 0, std::size_t most = 1000,
                                    bool more = false) const {
    std::vector<std::string> list;
    const auto page = store_.annotations(task_, after, most);
    EXPECT_TRUE(page.ok());
    if (!page.ok()) return list;
    EXPECT_EQ(page.value().more, more);
    for (const pb::Annotation& one : page.value().annotations) list.push_back(one.message());
    return list;
  }

  os::TempDir directory_ = std::move(os::TempDir::create("reports")).value();
  Paths paths_{directory_.path()};
  ReportStore store_{paths_};
  const model::TaskId task_{7};
};

TEST_F(Reports, OfATaskThatReportedNothingAreEmpty) {
  EXPECT_THAT(messages(), IsEmpty());
  EXPECT_THAT(store_.warnings(task_).value(), IsEmpty());
  EXPECT_FALSE(store_.figures(task_).value().has_value());
  EXPECT_EQ(store_.agent_log(task_).value(), "");
}

TEST_F(Reports, KeepEachFindingOnceAndNoSecret) {
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"a", "b"})).ok());
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"a", "b"})).ok());  // sent again
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"c"})).ok());
  EXPECT_THAT(messages(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(os::read_file(paths_.reports_of(task_) / "annotations").value().find("secret"),
            std::string::npos);
}

TEST_F(Reports, FindingsAreReadInPagesThatDoNotMoveWhenMoreCome) {
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"a", "b", "a"})).ok());
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"b", "c"})).ok());
  EXPECT_THAT(messages(0, 2, true), ElementsAre("a", "b"));
  EXPECT_THAT(messages(2, 1), ElementsAre("c"));
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"a", "d"})).ok());
  EXPECT_THAT(messages(2, 2), ElementsAre("c", "d"));
  EXPECT_THAT(messages(4, 2), IsEmpty());
  EXPECT_THAT(messages(400, 2), IsEmpty());
}

TEST_F(Reports, APageOfLongFindingsEndsEarly) {
  const std::string text(ReportStore::kMostPageBytes / 2, 'x');
  ASSERT_TRUE(store_.add_annotations(task_, report_of({text + "1", text + "2", text + "3"})).ok());
  EXPECT_THAT(messages(0, 1000, true), ElementsAre(text + "1", text + "2"));
  EXPECT_THAT(messages(2), ElementsAre(text + "3"));
}

TEST_F(Reports, SurviveAFileThatWasCutOff) {
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"a"})).ok());
  const auto file = paths_.reports_of(task_) / "annotations";
  const auto whole = std::filesystem::file_size(file);
  ASSERT_TRUE(store_.add_annotations(task_, report_of({"b"})).ok());
  for (auto size = std::filesystem::file_size(file); size >= whole; --size) {
    std::filesystem::resize_file(file, size);
    EXPECT_EQ(messages().front(), "a");
  }
}

TEST_F(Reports, KeepTheLastFiguresAndAllWarnings) {
  pb::ReportAgentFinishedRequest report;
  report.mutable_resource_utilization()->set_cpu_total(2);
  report.add_command_results()->set_name("main");
  ASSERT_TRUE(store_.put_figures(task_, report).ok());
  report.mutable_resource_utilization()->set_cpu_total(4);
  ASSERT_TRUE(store_.put_figures(task_, report).ok());
  EXPECT_EQ(store_.figures(task_).value()->resource_utilization().cpu_total(), 4);
  EXPECT_EQ(store_.figures(task_).value()->command_results_size(), 0);
  ASSERT_TRUE(store_.add_warning(task_, "one").ok());
  ASSERT_TRUE(store_.add_warning(task_, "two").ok());
  ASSERT_TRUE(store_.add_warning(task_, "one").ok());  // sent again
  EXPECT_THAT(store_.warnings(task_).value(), ElementsAre("one", "two"));
}

TEST_F(Reports, OverTheLimitAreRefused) {
  ASSERT_TRUE(store_.put_agent_log(task_, std::string(ReportStore::kMaxBytes - 10, 'x')).ok());
  EXPECT_EQ(store_.add_annotations(task_, report_of({std::string(100, 'y')})).error().code(),
            Code::ResourceExhausted);
}

}  // namespace
}  // namespace cirrus::controller::blobs
