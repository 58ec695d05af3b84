// SPDX-License-Identifier: MIT
#include "cli/submit.h"

#include <openssl/evp.h>

#include "cli/working_tree.h"
#include "os/temp_dir.h"

namespace cirrus::cli {

namespace {

std::string base64(const std::string& text) {
  std::string encoded(4 * ((text.size() + 2) / 3), '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                  reinterpret_cast<const unsigned char*>(text.data()),
                  static_cast<int>(text.size()));
  return encoded;
}

}  // namespace

Result<Submission> push_directory(const std::filesystem::path& directory, std::string repository,
                                  const ApiClient& api, const StopToken& stop) {
  const os::TempDir scratch = CIRRUS_TRY(os::TempDir::create("cirrus-submit"));
  WorkingTree tree =
      CIRRUS_TRY(commit_directory(directory, std::move(repository), scratch.path(), stop));
  // Asked first, because a push that is refused comes back as git's words, without the reason.
  CIRRUS_TRY(api.get("/api/v1/whoami?repository=" + tree.repository));
  CIRRUS_TRY(api.get("/readyz"));
  // The credential travels in the environment, which only this user can read.
  os::Environment& environment = tree.git.environment;
  environment["GIT_CONFIG_COUNT"] = "2";
  environment["GIT_CONFIG_KEY_0"] = "http.extraHeader";
  environment["GIT_CONFIG_VALUE_0"] =
      "Authorization: Basic " + base64("cirrus:" + api.token().reveal());
  environment["GIT_CONFIG_KEY_1"] = "push.gpgSign";
  environment["GIT_CONFIG_VALUE_1"] = "false";
  if (!api.ca_file().empty()) {
    environment["GIT_CONFIG_COUNT"] = "3";
    environment["GIT_CONFIG_KEY_2"] = "http.sslCAInfo";
    environment["GIT_CONFIG_VALUE_2"] = std::filesystem::absolute(api.ca_file()).string();
  }
  CIRRUS_TRY(tree.git
                 .run({"push", "-q", "--no-verify", api.url() + "/git/" + tree.repository + ".git",
                       tree.commit + ":refs/cirrus/submit/" + tree.commit})
                 .note("pushing '{}' to the controller", tree.git.directory.string()));
  return Submission{tree.repository, tree.branch, tree.commit, tree.message};
}

}  // namespace cirrus::cli
