// SPDX-License-Identifier: MIT
#include "controller/http/event_streams.h"

#include <algorithm>
#include <atomic>
#include <functional>

#include "controller/http/json_views.h"

namespace cirrus::controller::http {

namespace {
/// Above this much unsent, a slow client skips states instead of piling them up.
constexpr std::size_t kEnough = 256 * 1024;
/// The same for a log, of which a thousand clients may read nothing: some 110 KB for each of them.
constexpr std::size_t kEnoughOfALog = 64 * 1024;
constexpr std::size_t kLogPiece = 32 * 1024;

/// Names a state, so that a client which has it is not sent it again.
std::string state_id(const std::string& text) {
  return fmt::format("{:016x}", std::hash<std::string>()(text));
}

/// What is sent of a build or of one of its tasks.
struct Shown {
  std::string text;
  bool final = false;  ///< it never changes again
};

/// Follows one build, or one task of it. Kept alive by its stream (through the close callback).
class StateFollower : public std::enable_shared_from_this<StateFollower> {
 public:
  /// `look` reads what is to be shown; NotFound once it has left memory.
  using Look = std::function<Result<Shown>(const core::State& state)>;

  StateFollower(core::Core& core, model::BuildId build, std::string event, std::string last_id,
                Look look, net::Responder& responder)
      : core_(core),
        build_(build),
        event_(std::move(event)),
        look_(std::move(look)),
        events_(responder),
        last_id_(std::move(last_id)) {}

  void start(const Shown& first) {
    watcher_ = std::make_shared<core::State::BuildWatcher>([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->on_change();
    });
    // Whatever keeps the stream open keeps us; gone with it.
    events_.on_close([self = shared_from_this()] {});
    events_.on_drain([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self && self->skipped_.exchange(false)) self->on_change();
    });
    send(first);
    const bool posted = core_.post([self = shared_from_this()](core::State& state, core::Moment) {
      state.watch_build(self->build_, self->watcher_);
    });
    if (posted) on_change();  // what happened between the first view and the watch
  }

 private:
  void on_change() {
    if (events_.pending() > kEnough) {
      skipped_ = true;
      return;
    }
    if (asked_.exchange(true)) return;
    const bool posted = core_.post([self = shared_from_this()](core::State& state, core::Moment) {
      self->asked_ = false;
      state.answer<Shown>(
          [self](const Result<Shown>& shown) {
            if (shown.ok()) {
              self->send(shown.value());
            } else if (shown.error().code() == Code::NotFound) {
              self->end();  // left memory: it was final
            }
          },
          self->look_(state));
    });
    if (!posted) events_.finish();
  }

  /// From `start`, then from the loop's thread only.
  void send(const Shown& shown) {
    if (ended_) return;
    std::string id = state_id(shown.text);
    if (id != last_id_) {
      events_.send(event_, shown.text, id);
      last_id_ = std::move(id);
    }
    if (shown.final) end();
  }
  void end() {
    if (std::exchange(ended_, true)) return;
    events_.send("end", "{}");
    events_.finish();
  }

  core::Core& core_;
  const model::BuildId build_;
  const std::string event_;
  const Look look_;
  net::EventStream events_;
  std::shared_ptr<core::State::BuildWatcher> watcher_;
  std::atomic<bool> asked_{false};    // a view is on its way
  std::atomic<bool> skipped_{false};  // a change was not sent because the client is slow
  std::string last_id_;
  bool ended_ = false;
};

Shown shown_of(const core::BuildView& view) {
  return {build_json(view), model::is_final(view.record.status)};
}
Shown shown_of(const core::TaskView& view) {
  return {task_json(view), model::is_final(view.status)};
}

/// Follows one step's log. One pump job at a time reads the file; arrivals and drains queue it.
class LogFollower : public std::enable_shared_from_this<LogFollower> {
 public:
  LogFollower(core::Core& core, blobs::LogStore& logs, WorkPool& pool, const core::TaskView& task,
              std::string step, std::uint64_t offset, net::Responder& responder)
      : core_(core),
        logs_(logs),
        pool_(pool),
        build_(task.build),
        task_(task.id),
        step_(std::move(step)),
        offset_(offset),
        events_(responder) {}

  void start() {
    const auto weak = weak_from_this();
    build_watcher_ = std::make_shared<core::State::BuildWatcher>([weak] {
      if (const auto self = weak.lock()) self->ask_whether_final();
    });
    log_watch_ = logs_.watch(task_, step_, [weak] {
      if (const auto self = weak.lock()) self->pump();
    });
    events_.on_close([self = shared_from_this()] { self->closed_ = true; });
    events_.on_drain([weak] {
      if (const auto self = weak.lock()) self->pump();
    });
    const bool posted = core_.post([self = shared_from_this()](core::State& state, core::Moment) {
      state.watch_build(self->build_, self->build_watcher_);
    });
    if (!posted) return events_.finish();
    ask_whether_final();
    pump();
  }

 private:
  void ask_whether_final() {
    const bool posted = core_.post([self = shared_from_this()](core::State& state, core::Moment) {
      state.answer<core::TaskView>(
          [self](const Result<core::TaskView>& task) {
            bool over = !task.ok() && task.error().code() == Code::NotFound;
            if (task.ok()) {
              for (const core::StepView& step : task.value().steps) {
                if (step.name == self->step_) over = step.log_final;
              }
            }
            if (over && !self->final_.exchange(true)) self->pump();
          },
          state.view_task(self->task_));
    });
    if (!posted) events_.finish();
  }

  void pump() {
    if (closed_) return;
    // 0: idle. 1: a job is queued or runs. 2: and has to look again.
    int idle = 0;
    if (!pumping_.compare_exchange_strong(idle, 1)) {
      pumping_ = 2;
      return;
    }
    if (!pool_.run([self = shared_from_this()](const StopToken&) { self->run(); })) {
      pumping_ = 0;  // the next arrival or drain tries again
    }
  }

  void run() {
    do {
      pumping_ = 1;
      while (!closed_ && events_.pending() < kEnoughOfALog) {
        const bool over = final_;  // before the read: what was logged before it is in the file
        const Result<std::string> bytes = logs_.read(task_, step_, offset_, kLogPiece);
        if (!bytes.ok() || bytes.value().empty()) {
          if (over && !ended_) {
            ended_ = true;
            events_.send("end", "{}");
            events_.finish();
          }
          break;
        }
        const std::string data = log_event_json(offset_, bytes.value());
        offset_ += bytes.value().size();
        // The id is where a client that lost the stream goes on.
        events_.send("log", data, std::to_string(offset_));
      }
      int running = 1;
      if (pumping_.compare_exchange_strong(running, 0)) return;
    } while (true);
  }

  core::Core& core_;
  blobs::LogStore& logs_;
  WorkPool& pool_;
  const model::BuildId build_;
  const model::TaskId task_;
  const std::string step_;
  std::uint64_t offset_;  // the running pump job only
  bool ended_ = false;    // the running pump job only
  net::EventStream events_;
  std::shared_ptr<core::State::BuildWatcher> build_watcher_;
  std::shared_ptr<void> log_watch_;
  std::atomic<int> pumping_{0};
  std::atomic<bool> final_{false};
  std::atomic<bool> closed_{false};
};
}  // namespace

void stream_build(core::Core& core, const core::BuildView& first, const std::string& last_id,
                  const std::shared_ptr<net::Responder>& responder) {
  const auto look = [id = first.record.id](const core::State& state) -> Result<Shown> {
    return shown_of(CIRRUS_TRY(state.view_build(id)));
  };
  std::make_shared<StateFollower>(core, first.record.id, "build", last_id, look, *responder)
      ->start(shown_of(first));
}

void stream_task(core::Core& core, const core::TaskView& first, const std::string& last_id,
                 const std::shared_ptr<net::Responder>& responder) {
  const auto look = [id = first.id](const core::State& state) -> Result<Shown> {
    return shown_of(CIRRUS_TRY(state.view_task(id)));
  };
  std::make_shared<StateFollower>(core, first.build, "task", last_id, look, *responder)
      ->start(shown_of(first));
}

void stream_log(core::Core& core, blobs::LogStore& logs, WorkPool& pool, const core::TaskView& task,
                const std::string& step, std::uint64_t offset,
                const std::shared_ptr<net::Responder>& responder) {
  std::make_shared<LogFollower>(core, logs, pool, task, step, offset, *responder)->start();
}

}  // namespace cirrus::controller::http
