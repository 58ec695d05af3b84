// SPDX-License-Identifier: MIT
#include "cli/manual.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace cirrus::cli {

namespace {

// Nothing of it is an instruction: hyphens stay hyphens, and no line starts with a dot.
std::string roff(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else if ((c == '.' || c == '\'') && (escaped.empty() || escaped.back() == '\n')) {
      escaped += "\\&";
      escaped += c;
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string usage_of(const CommandNode& node) {
  std::string usage = node.name;
  if (!node.commands.empty()) usage += " COMMAND";
  bool flags = false;
  for (const CommandOption& option : node.options) flags = flags || !option.positional;
  if (flags) usage += " [OPTIONS]";
  for (const CommandOption& option : node.options) {
    if (!option.positional) continue;
    usage += option.required ? " " + option.names.front() : " [" + option.names.front() + "]";
  }
  return usage;
}

std::string sentence(const CommandOption& option) {
  std::string text = option.help;
  if (!option.variable.empty()) {
    text += fmt::format("{}Environment: {}.", text.empty() ? "" : ". ", option.variable);
  }
  return text;
}

void add_options(const CommandNode& node, std::string& page) {
  for (const CommandOption& option : node.options) {
    std::vector<std::string> names;
    for (const std::string& name : option.names) names.push_back("\\fB" + roff(name) + "\\fR");
    page += ".TP\n" + join(names, ", ");
    if (!option.positional && !option.value.empty()) page += " \\fI" + roff(option.value) + "\\fR";
    page += "\n" + roff(sentence(option)) + "\n";
  }
}

void add_examples(const CommandNode& node, std::string& page) {
  if (node.footer.empty()) return;
  page += ".PP\n.nf\n" + roff(std::string(trim(node.footer))) + "\n.fi\n";
}

void add_below(const CommandNode& node, std::string& page) {
  for (const CommandNode& command : node.commands) {
    page += ".SS " + roff(usage_of(command)) + "\n" + roff(command.help) + ".\n";
    add_options(command, page);
    add_examples(command, page);
    add_below(command, page);
  }
}

std::string page_of(const CommandNode& node, const std::string& version, bool with_below) {
  std::string title = node.name;
  for (char& c : title) c = c == ' ' ? '-' : c;
  std::string upper = title;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string page = fmt::format(".TH {} 1 \"\" \"cirrus {}\" \"Cirrus for your own machines\"\n",
                                 roff(upper), version);
  page += ".SH NAME\n" + roff(title) + " \\- " + roff(node.help) + "\n";
  page += ".SH SYNOPSIS\n.B " + roff(usage_of(node)) + "\n";
  page += ".SH OPTIONS\n";
  add_options(node, page);
  if (!node.commands.empty()) {
    page += ".SH COMMANDS\n";
    if (with_below) {
      add_below(node, page);
    } else {
      for (const CommandNode& command : node.commands) {
        page += fmt::format(".TP\n\\fB{}\\fR(1)\n{}\n", roff("cirrus-" + command.last_name()),
                            roff(command.help));
      }
    }
  }
  if (!node.footer.empty()) {
    page += ".SH EXAMPLES\n";
    add_examples(node, page);
  }
  page +=
      ".SH EXIT STATUS\n0 if all went well, 1 if the build or task failed, 2 for a wrong command "
      "line, 3 if the controller cannot be reached or does not allow it.\n";
  return page;
}

void add_reference(const CommandNode& node, std::string& text) {
  text += fmt::format("\n## {}\n\n{}.\n\n    {}\n", node.name, node.help, usage_of(node));
  if (!node.options.empty()) text += "\n| Option | Meaning |\n|---|---|\n";
  for (const CommandOption& option : node.options) {
    std::string name = join(option.names, ", ");
    if (!option.positional && !option.value.empty()) name += " " + option.value;
    std::string cell = fmt::format("`{}`", name);
    std::string help = sentence(option);
    for (std::string* part : {&cell, &help}) {
      for (std::size_t at = part->find('|'); at != std::string::npos;
           at = part->find('|', at + 2)) {
        part->insert(at, "\\");
      }
    }
    text += fmt::format("| {} | {} |\n", cell, help);
  }
  if (!node.footer.empty()) {
    text += "\n```\n" + std::string(trim(node.footer)) + "\n```\n";
  }
  for (const CommandNode& command : node.commands) add_reference(command, text);
}

}  // namespace

std::map<std::string, std::string> manual_pages(const CommandNode& root,
                                                const std::string& version) {
  std::map<std::string, std::string> pages;
  pages["cirrus.1"] = page_of(root, version, false);
  for (const CommandNode& command : root.commands) {
    pages["cirrus-" + command.last_name() + ".1"] = page_of(command, version, true);
  }
  return pages;
}

std::string command_reference(const CommandNode& root) {
  std::string text =
      "# Commands\n\nMade by `cirrus help --reference` from what the parser knows; a test keeps it "
      "so.\n";
  add_reference(root, text);
  return text;
}

}  // namespace cirrus::cli
