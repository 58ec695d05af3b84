// SPDX-License-Identifier: MIT
#include "agent/annotations/annotations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/annotations/xml_tree.h"
#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// `level|message|details|path:line:column-line:column`.
std::string line_of(const wire::Annotation& one) {
  const char* levels[] = {"notice", "warning", "failure"};
  const auto& place = one.file_location();
  EXPECT_EQ(one.type(), wire::Annotation::GENERIC);
  return fmt::format("{}|{}|{}|{}:{}:{}-{}:{}", levels[one.level()], one.message(),
                     one.raw_details(), place.path(), place.start_line(), place.start_column(),
                     place.end_line(), place.end_column());
}

std::vector<std::string> lines(const Report& report) {
  std::vector<std::string> all;
  for (const wire::Annotation& one : report.annotations) all.push_back(line_of(one));
  return all;
}

Report read(std::string_view format, std::string_view text) {
  Result<Report> report = read_report(format, text);
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().to_string());
  return report.ok() ? std::move(report).value() : Report();
}

TEST(Annotations, OfJunitHoldFailuresErrorsAndSkippedTestsOfAnyNesting) {
  const Report report = read("JUnit", R"(<?xml version="1.0"?>
<testsuites><testsuite name="outer">
  <testcase classname="a.B" name="works"/>
  <testcase classname="a.B" name="fails"><failure message="m" type="T"><![CDATA[
at org.junit.Assert.fail(Assert.java:89)
at a.B.fails(B.java:17)]]></failure></testcase>
  <testsuite name="inner">
    <testcase classname="c" name="errs" file="spec/c.rb" line="4"><error message="boom"/></testcase>
    <testcase name="later"><skipped/></testcase>
  </testsuite>
</testsuite></testsuites>)");
  EXPECT_EQ(report.passed, 1U);
  EXPECT_THAT(lines(report),
              ElementsAre("failure|a.B.fails|at org.junit.Assert.fail(Assert.java:89)\n"
                          "at a.B.fails(B.java:17)|B.java:17:0-17:0",
                          "failure|c.errs|boom|spec/c.rb:4:0-4:0", "notice|later||:0:0-0:0"));
}

TEST(Annotations, OfEachFormatOfTheReference) {
  const struct {
    const char* format;
    const char* text;
    std::vector<std::string> wanted;
  } cases[] = {
      {"golangci",
       R"({"Issues":[{"FromLinter":"errcheck","Text":"unchecked","Pos":{"Filename":"a.go","Line":3,"Column":7}}]})",
       {"failure|unchecked (errcheck)||a.go:3:7-3:7"}},
      {"android-lint",
       R"(<issues format="6"><issue severity="Warning" message="m" explanation="e"><location file="a.kt" line="1" column="2"/></issue><issue severity="Ignore" message="x"><location file="b"/></issue></issues>)",
       {"warning|m|e|a.kt:1:2-1:2"}},
      {"eslint",
       R"([{"filePath":"/w/a.js","messages":[{"ruleId":"semi","severity":2,"message":"Missing","line":1,"column":2,"endLine":1,"endColumn":3},{"ruleId":"q","severity":1,"message":"Q","line":9,"column":1}]}])",
       {"failure|semi: Missing||/w/a.js:1:2-1:3", "warning|q: Q||/w/a.js:9:1-9:1"}},
      {"rspec",
       R"({"examples":[{"full_description":"adds","status":"failed","file_path":"./spec/a_spec.rb","line_number":5,"exception":{"message":"no"}},{"full_description":"waits","status":"pending","file_path":"./spec/b_spec.rb","line_number":6,"pending_message":"later"},{"status":"passed"}]})",
       {"failure|adds|no|spec/a_spec.rb:5:0-5:0", "notice|waits|later|spec/b_spec.rb:6:0-6:0"}},
      {"rubocop",
       R"({"files":[{"path":"a.rb","offenses":[{"severity":"convention","cop_name":"C","message":"m","location":{"line":1,"column":2}},{"severity":"fatal","cop_name":"F","message":"n","location":{"line":3,"column":4}},{"severity":"fatal","corrected":true,"cop_name":"G","message":"o","location":{"line":5,"column":6}},{"severity":"odd","cop_name":"H"}]}]})",
       {"notice|C: m||a.rb:1:2-1:2", "failure|F: n||a.rb:3:4-3:4", "notice|G: o||a.rb:5:6-5:6"}},
      {"qodana",
       R"({"listProblem":[{"severity":"Critical","comment":"c","detailsInfo":"d","sources":[{"path":"a.java","line":2,"offset":3}]},{"severity":"High","comment":"h","sources":[{"path":"b.java","line":4,"offset":5}]}]})",
       {"failure|c|d|a.java:2:3-2:3", "warning|h||b.java:4:5-4:5"}},
      {"xclogparser",
       R"([{"errors":[{"title":"t","detail":"d","documentURL":"file:///w/a.swift","startingLineNumber":1,"endingLineNumber":2,"startingColumnNumber":3,"endingColumnNumber":4}],"warnings":[{"title":"no place","documentURL":""}]}])",
       {"failure|t|d|/w/a.swift:1:3-2:4"}},
      {"flutter",
       "{\"type\":\"testStart\",\"test\":{\"id\":1,\"name\":\"n\",\"url\":\"file:///w/"
       "a.dart\",\"line\":3,\"column\":4}}\n"
       "[{\"event\":\"test.startedProcess\"}]\n"
       "{\"type\":\"error\",\"testID\":1,\"error\":\"e\"}\n"
       "{\"type\":\"testDone\",\"testID\":1,\"result\":\"failure\"}\n",
       {"failure|n|e|/w/a.dart:3:4-3:4"}},
      {"boost",
       R"(<TestLog><TestSuite name="m"><TestSuite name="s"><TestCase name="c"><Error file="a.cpp" line="8"><![CDATA[check failed]]></Error></TestCase></TestSuite></TestSuite></TestLog>)",
       {"failure|check failed||a.cpp:8:0-8:0"}},
      {"buf",
       R"({"path":"a.proto","start_line":1,"start_column":2,"end_line":3,"end_column":4,"message":"m"})",
       {"warning|m||a.proto:1:2-3:4"}},
      {"swiftformat",
       R"([{"file":"/w/a.swift","line":2,"rule_id":"indent","reason":"Indent it."}])",
       {"warning|indent: Indent it.||/w/a.swift:2:0-2:0"}},
      {"cirrus",
       R"({"level":"warning","message":"m","raw_details":"d","path":"p","start_line":1,"end_line":2,"start_column":3,"end_column":4})",
       {"warning|m|d|p:1:3-2:4"}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.format);
    EXPECT_EQ(lines(read(c.format, c.text)), c.wanted);
  }
}

TEST(Annotations, OfGoTestsNameTheInnermostFailureOnce) {
  const Report report = read("go-test", R"({"Action":"run","Package":"p","Test":"TestA"}
go: downloading something
{"Action":"output","Package":"p","Test":"TestA/sub","Output":"    a_test.go:12: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA/sub"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"q.go:3:1: undefined: x\n"}
{"Action":"fail","Package":"q"}
)");
  EXPECT_EQ(report.passed, 1U);
  EXPECT_THAT(lines(report),
              ElementsAre("failure|p.TestA/sub|    a_test.go:12: wrong\n|a_test.go:12:0-12:0",
                          "failure|q|q.go:3:1: undefined: x\n|q.go:3:0-3:0"));
}

TEST(Annotations, OfCargoAreItsMessagesAndItsFailedTests) {
  const Report report = read(
      "cargo",
      R"({"reason":"compiler-message","message":{"message":"unused","level":"warning","rendered":"r","spans":[{"file_name":"src/a.rs","line_start":1,"line_end":1,"column_start":2,"column_end":5,"is_primary":true}]}}
running 2 tests
{"type":"test","event":"ok","name":"t1"}
{"type":"test","event":"failed","name":"t2","stdout":"thread 't2' panicked at src/lib.rs:7:5:\nno"}
)");
  EXPECT_EQ(report.passed, 1U);
  EXPECT_THAT(
      lines(report),
      ElementsAre("warning|unused|r|src/a.rs:1:2-1:5",
                  "failure|t2|thread 't2' panicked at src/lib.rs:7:5:\nno|src/lib.rs:7:0-7:0"));
}

TEST(Annotations, OfMoreThanAnybodyReadsAreCounted) {
  std::string text = "<testsuites><testsuite>";
  for (std::size_t n = 0; n < kMaxAnnotations + 7; ++n) {
    text += "<testcase name=\"n\"><failure>f</failure></testcase><testcase name=\"passed\"/>";
  }
  const Result<Report> report = read_report("junit", text + "</testsuite></testsuites>");
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report.value().annotations.size(), kMaxAnnotations);
  EXPECT_EQ(report.value().left_out, 7U);
  EXPECT_EQ(report.value().passed, kMaxAnnotations + 7);
  // What comes after the limit changes nothing before it.
  std::string lines;
  for (std::size_t n = 0; n <= kMaxAnnotations; ++n) {
    lines += R"({"level":"notice","message":"m","start_line":1,"end_line":)" +
             std::to_string(n + 1) + "}\n";
  }
  const Result<Report> many = read_report("cirrus", lines);
  ASSERT_TRUE(many.ok());
  EXPECT_EQ(many.value().annotations.back().file_location().end_line(),
            static_cast<std::int64_t>(kMaxAnnotations));
}

TEST(Annotations, RefuseWhatCannotBeRead) {
  const struct {
    const char* name;
    const char* format;
    std::string text;
    const char* words;
  } cases[] = {
      {"cut", "junit", "<testsuite><testcase>", "line 1"},
      {"no document", "junit", "", "no element found"},
      {"entities", "junit", "<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>", "declares entities"},
      {"deep", "junit",
       [] {
         std::string text;
         for (int i = 0; i < 200; ++i) text += "<a>";
         return text;
       }(),
       "nested too deeply"},
      {"not JSON", "golangci", "Issues", "not JSON"},
      {"one bad line", "cirrus", "{\"level\":\"notice\"}\n{", "line 2"},
      {"no level", "cirrus", "{\"level\":\"loud\"}", "'loud' is no level"},
      {"too large", "eslint", std::string(kMaxReport + 1, ' '), "larger than"},
      {"lint of tomorrow", "android-lint", "<issues format=\"7\"/>", "format 7"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Result<Report> report = read_report(c.format, c.text);
    ASSERT_FALSE(report.ok());
    EXPECT_THAT(report.error().message(), HasSubstr(c.words));
  }
}

TEST(Annotations, OfAnUnknownFormatAreNone) {
  EXPECT_FALSE(is_report_format("tap"));
  EXPECT_THAT(read("tap", "not ok 1").annotations, IsEmpty());
}

TEST(Annotations, AnswerAnyShapeOfJson) {
  for (const char* format : {"golangci", "rspec", "rubocop", "qodana", "flutter", "buf", "go-test",
                             "cargo", "swiftformat"}) {
    SCOPED_TRACE(format);
    for (const char* text :
         {"[]", "{}", "null", "[1]", "{\"Issues\":3,\"files\":[1],\"examples\":{}}"}) {
      EXPECT_THAT(read(format, text).annotations.size(), ::testing::Le(1U)) << text;
    }
  }
}

TEST(Annotations, HaveTheirPathsFixed) {
  const os::TempDir directory = std::move(os::TempDir::create("annotations")).value();
  ASSERT_TRUE(os::make_directories(directory.path() / "src" / "deep", 0755).ok());
  ASSERT_TRUE(os::write_file(directory.path() / "src" / "deep" / "B.java", "x").ok());
  const PathIndex index(directory.path(), {});
  EXPECT_EQ(index.fix("B.java"), "src/deep/B.java");
  EXPECT_EQ(index.fix("/elsewhere/B.java"), "src/deep/B.java");
  EXPECT_EQ(index.fix((directory.path() / "src/deep/B.java").string()), "src/deep/B.java");
  EXPECT_EQ(index.fix("./src/deep/B.java"), "src/deep/B.java");
  EXPECT_EQ(index.fix("C.java"), "C.java");
  EXPECT_EQ(index.fix(""), "");
}

}  // namespace
}  // namespace cirrus::agent
