#!/usr/bin/env bash
# Records which functions each program uses at rest and in its daily work, by running it under valgrind in a few of the
# integration tests. What so slow a program makes of a test is of no matter here. What only pods do, on a processor that
# valgrind does not know all of, is added from the page faults of stories on the local cluster.
# Takes 40 minutes. Needs valgrind, perf, and root. Usage: layout/record.sh
source "$(dirname "$0")/../e2e/cluster/lib.sh"
layout=$root/layout
export LC_ALL=C
for tool in valgrind perf; do
  command -v "$tool" >/dev/null || fail "$tool is needed; install it (Debian: apt install valgrind linux-perf)"
done
work=$(mktemp -d)
read_ahead=/sys/dev/block/$(mountpoint -d "$(stat -c %m /var/lib)")/bdi/read_ahead_kb
usual_read_ahead=$(cat "$read_ahead")
forgetting=
end() {
  [ -z "$forgetting" ] || kill "$forgetting"
  echo "$usual_read_ahead" > "$read_ahead"
  rm -rf "$work"
}
trap end EXIT
mkdir "$work/named"

build() { # Nothing but its last step, which also leaves the programs with their symbols.
  step "programs"
  touch "$root"/{operator,hub,node-runtime}/src/main.rs
  FATEH_NAMED=$work/named "$here/programs.sh" >/dev/null
}

record() { # PROGRAM LIST SUITE TEST...
  local program=$1 list=$2 suite=$3 calls=$work/$1.$2
  shift 3
  mkdir "$calls"
  cat > "$calls/$program" <<SH
#!/bin/sh
exec valgrind -q --tool=callgrind --callgrind-out-file=$calls.%p --dump-every-bb=50000000 \
  --dump-line=no --compress-strings=no --demangle=no "$work/named/$program" "\$@"
SH
  chmod +x "$calls/$program"
  step "$program: $list"
  FATEH_PROGRAMS_INSTEAD=$calls "$root/tests/run.sh" "$suite" --test-threads 2 "$@" > "$calls.log" 2>&1 || true
  mkdir -p "$work/lists/$program"
  # Pods have no kubeconfig; tests do.
  cat "$calls".[0-9]* | grep -a '^fn=' | sed -E "s/^fn=//; s/'[0-9]+\$//" | sort -u \
    | comm -12 - <(nm --defined-only --just-symbols "$work/named/$program" | sort -u) \
    | grep -v -e serde_saphyr -e granit_parser -e file_config > "$work/lists/$program/$list"
  [ "$(wc -l < "$work/lists/$program/$list")" -gt 1000 ] || fail "$program was hardly run: $(tail -n 20 "$calls.log")"
}
build
record node-runtime rest node a_node_tells_when_it_is_ready
record node-runtime work node the_first_admin_signs_in_and_adds_users_on_postgresql_18 users_are_made_found_changed_and_deleted_on_postgresql_18 \
  content_is_made_published money_is_recorded_once_and_given_back_in_parts_on_postgresql_18 what_happens_reaches_the_centre \
  a_session_lives_on_by_refreshing_on_postgresql_18 what_a_partner_had_changed
record fateh-hub rest hub no_test_at_all
record fateh-hub work hub a_node_is_made_followed nodes_are_listed_in_pages what_a_node_records_reaches_the_ledger \
  a_user_of_a_node_has_a_global_reference a_version_is_served_by_digest released_content_is_sent
record fateh-operator rest integration no_test_at_all
record fateh-operator work integration three_lines_become_a_node figures_are_copied a_change_is_carried_out stages_follow_one_another \
  a_suspended_node_keeps_its_data a_database_is_dropped_when_asked_on_postgresql_18

add() { # The functions that the standard input names are used at rest.
  local lists=$layout/$1
  sort -u - "$lists/rest" -o "$lists/rest"
  sort -u "$lists/work" | comm -13 "$lists/rest" - > "$work/others"
  cp "$work/others" "$lists/work"
}

finish
for program in node-runtime fateh-hub fateh-operator; do
  cp "$work/lists/$program"/{rest,work} "$layout/$program"
  add "$program" < /dev/null
done
# A function that is not yet in a list lies among others that nobody uses; of those in one page only the first is seen.
for _ in 1 2 3; do
  build
  step "pods"
  # Each page that is touched is to be a fault: none is read before, and what nobody has mapped is forgotten.
  echo 0 > "$read_ahead"
  (while sync && echo 1 > /proc/sys/vm/drop_caches; do sleep 0.3; done) &
  forgetting=$!
  perf record --quiet --all-cpus --event page-faults --count 1 --output "$work/faults" "$root/e2e/run.sh" backbone > "$work/pods.log" 2>&1 \
    || fail "the story did not end well: $(tail -n 20 "$work/pods.log")"
  kill "$forgetting"
  forgetting=
  echo "$usual_read_ahead" > "$read_ahead"
  perf script --input "$work/faults" --show-mmap-events --fields comm,pid,ip > "$work/faults.txt" 2>/dev/null
  for program in node-runtime fateh-hub fateh-operator; do
    python3 "$layout/faulting.py" "$work/named/$program" < "$work/faults.txt" | add "$program"
  done
done
finish
wc -l "$layout"/*/*
