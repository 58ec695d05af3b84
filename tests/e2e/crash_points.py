"""The named points of a task's life that every isolation has. SPDX-License-Identifier: MIT"""

RESULTS = ("gateway.log.spooled", "gateway.log.sent", "gateway.result.written",
           "gateway.result.sent", "gateway.finish.written")
END = ("worker.task.agent-gone", "worker.task.torn-down", "worker.task.ended",
       "worker.task.end-reported", "worker.task.forgotten")
FAILURE = ("worker.task.failure-reported",)
# Where a launch takes its time, the controller knows before it begins.
START_ANNOUNCED = ("worker.task.assigned", "worker.task.announced", "worker.task.recorded")
HANDING_OVER = ("worker.task.handing-over",)
HANDED_OVER = ("worker.task.handed-over",)
