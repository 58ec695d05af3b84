// SPDX-License-Identifier: MIT
#include "controller/secrets/secret_box.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "os/files.h"
#include "os/temp_dir.h"

namespace cirrus::controller::secrets {

TEST(SecretBox, OpensWhatItSealedForTheSameRepositoryOnly) {
  const SecretBox box = SecretBox::ephemeral();
  const std::string value("p\0ss w\xC3\xB6rd\n", 11);
  const std::string sealed = box.seal("acme/app", value).value();
  EXPECT_TRUE(looks_encrypted(sealed));
  EXPECT_EQ(box.open_value("acme/app", sealed).value().reveal(), value);
  EXPECT_EQ(box.open_value("acme/other", sealed).error().code(), Code::InvalidArgument);
  EXPECT_EQ(SecretBox::ephemeral().open_value("acme/app", sealed).error().code(),
            Code::InvalidArgument);
  EXPECT_NE(box.seal("acme/app", value).value(), sealed) << "equal values must not look equal";
}

TEST(SecretBox, RefusesWhatWasChangedOrCut) {
  const SecretBox box = SecretBox::ephemeral();
  const std::string sealed = box.seal("a/b", "secret value").value();
  for (std::size_t at = 17; at + 1 < sealed.size(); ++at) {
    std::string changed = sealed;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(box.open_value("a/b", changed).ok()) << at;
    EXPECT_FALSE(box.open_value("a/b", sealed.substr(0, at) + "]").ok()) << at;
  }
  for (const char* foreign : {"ENCRYPTED[]", "ENCRYPTED[5d8a3b]", "ENCRYPTED[cirrus:]",
                              "ENCRYPTED[cirrus:!!]", "plain", ""}) {
    EXPECT_FALSE(box.open_value("a/b", foreign).ok()) << foreign;
  }
}

TEST(SecretBox, RefusesEmptyAndHugeValues) {
  const SecretBox box = SecretBox::ephemeral();
  EXPECT_EQ(box.seal("a/b", "").error().code(), Code::InvalidArgument);
  EXPECT_TRUE(box.seal("a/b", std::string(SecretBox::kMaxValue, 'x')).ok());
  EXPECT_EQ(box.seal("a/b", std::string(SecretBox::kMaxValue + 1, 'x')).error().code(),
            Code::InvalidArgument);
}

TEST(SecretBox, KeepsItsKeyInAFileNobodyElseMayRead) {
  const os::TempDir directory = os::TempDir::create("secret-box").value();
  const std::filesystem::path file = directory.path() / "master-key";
  const std::string sealed =
      SecretBox::open(file).value().seal("a/b", "kept over restarts").value();
  struct ::stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(SecretBox::open(file).value().open_value("a/b", sealed).value().reveal(),
            "kept over restarts");
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  EXPECT_EQ(SecretBox::open(file).error().code(), Code::PermissionDenied);
  ASSERT_TRUE(os::write_file(file, "not a key\n", 0600).ok());
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  EXPECT_EQ(SecretBox::open(file).error().code(), Code::DataLoss);
}

}  // namespace cirrus::controller::secrets
