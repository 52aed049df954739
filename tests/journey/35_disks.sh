# Disks: what one job wrote is there in the next, also on a branch, and after everything was killed.
# shellcheck shell=bash

log_in disks
options=(-o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$work/known_hosts" -o BatchMode=yes -o IdentitiesOnly=yes)
disk() { api GET "/v1/disks/$1"; }
# at_rest DISK SNAPSHOTS: nobody uses it, and it has so many complete snapshots.
at_rest() { disk "$1" | jq -e --argjson count "$2" '((.in_use or .is_backing_up) | not) and .snapshot_count == $count'; }
operated() { [ "$(api GET "/v1/disks/$1/operations/$2" | jq -r .status)" = completed ]; }
# job_on DISK: submits a job that has the disk, and prints its id.
job_on() {
  submit "$(jq -n --arg key "$(cat "$work/owner.pub")" --arg disk "$1" \
    '{image: "a", instance_type: "g5.xlarge", duration_hours: 1, ssh_public_keys: [$key], disk_name: $disk}')"
}
# on JOB COMMAND: runs it there, over SSH.
on() {
  # shellcheck disable=SC2046
  $(field "$1" ssh_command) "${options[@]}" -i "$work/owner" "$2"
}
ended() {
  api POST "/v1/jobs/$1/cancel" >"$work/answer"
  eventually 60 has "$1" status cancelled
}
# written JOB FILE, and read_back JOB FILE: a file on the disk as the one here.
written() { on "$1" 'cat > "$SLIPWAY_DISK/data" && mkdir -p "$SLIPWAY_DISK/models" && ln -sf ../data "$SLIPWAY_DISK/models/link"' <"$2"; }
read_back() { on "$1" 'cat "$SLIPWAY_DISK/models/link"' >"$work/there" && cmp "$2" "$work/there"; }

head -c 3000000 /dev/urandom >"$work/first"
head -c 2000000 /dev/urandom >"$work/second"
made=$(api POST /v1/disks '{"disk_name": "journey", "size_gb": 10}' | jq -r .operation_id)
check 'a disk is made' eventually 20 operated journey "$made"

job=$(job_on journey)
check 'a job with it is active' eventually 30 has "$job" status active
check 'a file is written to it over SSH' written "$job" "$work/first"
check 'the job ends' ended "$job"
check 'its disk has one snapshot' eventually 40 at_rest journey 1
listed() {
  api GET "/v1/disks/$1/contents?path=" | jq -e --argjson size "$2" \
    '([.entries[] | {path, kind, size}] | map(select(.path == "data"))) == [{path: "data", kind: "file", size: $size}]'
}
check 'the listing shows the file' listed journey 3000000
in_folder() { api GET '/v1/disks/journey/contents?path=models' | jq -e '[.entries[] | [.path, .kind]] == [["models/link", "link"]]'; }
check 'and what is in a folder' in_folder

branched=$(api POST /v1/disks/journey/branches '{"name": "journey-branch"}' | jq -r .operation_id)
check 'a branch of it is made' eventually 20 operated journey-branch "$branched"
job=$(job_on journey-branch)
check 'a job on the branch is active' eventually 30 has "$job" status active
check 'the file is there, byte for byte' read_back "$job" "$work/first"
check 'it is changed there' written "$job" "$work/second"
check 'that job ends' ended "$job"
check 'the branch has a snapshot of its own beside the one that it began with' eventually 40 at_rest journey-branch 2
check 'the listing of the branch shows the change' listed journey-branch 2000000

job=$(job_on journey)
check 'a third job has the disk itself' eventually 30 has "$job" status active
check 'the file on it is as it was' read_back "$job" "$work/first"
check 'it is changed now' written "$job" "$work/second"
# Everything at once: the plane, both copies of the agent, and what the job runs.
kill_plane KILL
processes_of "$job" | grep -o '[0-9]\+' | xargs -r kill -9 2>>"$work/plane.log" || true
start_plane
check 'the plane starts again' eventually 5 answers
over() { case $(field "$1" status) in queued | placed | active | provisioning | draining) return 1 ;; esac; }
check 'the job that was killed is over' eventually 60 over "$job"
check 'what was on its disk was kept' eventually 60 at_rest journey 2
job=$(job_on journey)
check 'a fourth job has the disk' eventually 30 has "$job" status active
check 'what was written last is there, byte for byte' read_back "$job" "$work/second"
check 'the last job ends' ended "$job"
check 'and its disk is at rest' eventually 40 at_rest journey 3
