# The plane is killed in the middle of launches and started again: nothing is lost, nothing is left over, nothing stays booked.
# shellcheck shell=bash

jobs=()
for _ in 1 2 3; do
  jobs+=("$(submit '{"image": "a", "instance_type": "p4d.24xlarge", "duration_hours": 1}')")
  # Each time at another moment of the launch.
  sleep "0.$((${#jobs[@]} * 2))"
  kill_plane KILL
  start_plane
  check 'it starts again on what it had' eventually 2 answers
done
settled() { case $(field "$1" status) in active | failed) ;; *) return 1 ;; esac; }
moved_on() { case $(field "$1" status) in active | failed | queued) ;; *) return 1 ;; esac; }
for job in "${jobs[@]}"; do
  check 'a job that was being launched becomes active or failed, or waits for GPUs' eventually 60 moved_on "$job"
  [ "$(field "$job" status)" = queued ] || check 'it has settled' settled "$job"
done
held() { api GET '/v1/jobs?status=active' | jq '[.jobs[].gpu_count] | add // 0'; }
booked_is_held() { [ "$(in_use)" = "$(held)" ]; }
check 'no GPU is booked for anything but active jobs' eventually 30 booked_is_held
for job in "${jobs[@]}"; do api POST "/v1/jobs/$job/cancel" >"$work/answer"; done
check 'all GPUs are free again' eventually 60 all_free
for job in "${jobs[@]}"; do check 'no process is left over' eventually 10 none_left "$job"; done
