// SPDX-License-Identifier: MIT
#include "controller/http/event_streams.h"

#include <algorithm>
#include <atomic>

#include "controller/http/json_views.h"

namespace cirrus::controller::http {

namespace {
/// Above this much unsent, a slow client skips states instead of piling them up.
constexpr std::size_t kEnough = 256 * 1024;
constexpr std::size_t kLogPiece = 128 * 1024;

/// Follows one build. Kept alive by its stream (through the close callback).
class BuildFollower : public std::enable_shared_from_this<BuildFollower> {
 public:
  BuildFollower(core::Core& core, model::BuildId id, net::Responder& responder)
      : core_(core), id_(id), events_(responder) {}

  void start(const core::BuildView& first) {
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
      state.watch_build(self->id_, self->watcher_);
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
      state.answer<core::BuildView>(
          [self](const Result<core::BuildView>& view) {
            if (view.ok()) {
              self->send(view.value());
            } else if (view.error().code() == Code::NotFound) {
              self->end();  // left memory: it was final
            }
          },
          state.view_build(self->id_));
    });
    if (!posted) events_.finish();
  }

  /// From `start`, then from the loop's thread only.
  void send(const core::BuildView& view) {
    if (ended_) return;
    std::string text = build_json(view);
    if (text != last_) {
      events_.send("build", text);
      last_ = std::move(text);
    }
    if (model::is_final(view.record.status)) end();
  }
  void end() {
    if (std::exchange(ended_, true)) return;
    events_.send("end", "{}");
    events_.finish();
  }

  core::Core& core_;
  const model::BuildId id_;
  net::EventStream events_;
  std::shared_ptr<core::State::BuildWatcher> watcher_;
  std::atomic<bool> asked_{false};    // a view is on its way
  std::atomic<bool> skipped_{false};  // a change was not sent because the client is slow
  std::string last_;
  bool ended_ = false;
};

/// Follows one step's log. One pump job at a time reads the file; arrivals and drains queue it.
class LogFollower : public std::enable_shared_from_this<LogFollower> {
 public:
  LogFollower(core::Core& core, blobs::LogStore& logs, blobs::WorkPool& pool,
              const core::TaskView& task, std::string step, std::uint64_t offset,
              net::Responder& responder)
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
      while (!closed_ && events_.pending() < kEnough) {
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
        events_.send("log", log_event_json(offset_, bytes.value()));
        offset_ += bytes.value().size();
      }
      int running = 1;
      if (pumping_.compare_exchange_strong(running, 0)) return;
    } while (true);
  }

  core::Core& core_;
  blobs::LogStore& logs_;
  blobs::WorkPool& pool_;
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

void stream_build(core::Core& core, const core::BuildView& first,
                  const std::shared_ptr<net::Responder>& responder) {
  std::make_shared<BuildFollower>(core, first.record.id, *responder)->start(first);
}

void stream_log(core::Core& core, blobs::LogStore& logs, blobs::WorkPool& pool,
                const core::TaskView& task, const std::string& step, std::uint64_t offset,
                const std::shared_ptr<net::Responder>& responder) {
  std::make_shared<LogFollower>(core, logs, pool, task, step, offset, *responder)->start();
}

}  // namespace cirrus::controller::http
