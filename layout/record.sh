#!/usr/bin/env bash
# Records which functions each program uses in its first minute and in its daily work, by running it under valgrind in
# a few of the integration tests. What a slow program makes of a test is of no matter here. Usage: layout/record.sh
source "$(dirname "$0")/../e2e/cluster/lib.sh"
layout=$root/layout
export LC_ALL=C
command -v valgrind >/dev/null || fail "valgrind is needed; install it (Debian: apt install valgrind)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/named"
# Nothing but the last step of the build, which also leaves the programs with their symbols.
touch "$root"/{operator,hub,node-runtime}/src/main.rs
FATEH_NAMED=$work/named "$here/programs.sh" >/dev/null

record() { # PROGRAM SUITE TEST...
  local program=$1 suite=$2
  shift 2
  mkdir "$work/$program"
  cat > "$work/$program/$program" <<SH
#!/bin/sh
exec valgrind -q --tool=callgrind --callgrind-out-file=$work/$program.calls.%p --dump-every-bb=50000000 \
  --dump-line=no --compress-strings=no --demangle=no "$work/named/$program" "\$@"
SH
  chmod +x "$work/$program/$program"
  step "$program"
  FATEH_PROGRAMS_INSTEAD=$work/$program "$root/tests/run.sh" "$suite" --test-threads 2 "$@" > "$work/$program.log" 2>&1 || true
  # Pods have no kubeconfig; tests do.
  cat "$work/$program".calls* | grep -a '^fn=' | sed -E "s/^fn=//; s/'[0-9]+\$//" | sort -u \
    | comm -12 - <(nm --defined-only --just-symbols "$work/named/$program" | sort -u) \
    | grep -v -e serde_saphyr -e granit_parser -e file_config > "$work/$program.functions"
  [ "$(wc -l < "$work/$program.functions")" -gt 1000 ] || fail "$program was hardly run: $(tail -n 20 "$work/$program.log")"
}
record node-runtime node the_first_admin_signs_in_and_adds_users_on_postgresql_18 users_are_made_found_changed_and_deleted_on_postgresql_18 \
  content_is_made_published money_is_recorded_once_and_given_back_in_parts_on_postgresql_18 what_happens_reaches_the_centre \
  a_session_lives_on_by_refreshing_on_postgresql_18 what_a_partner_had_changed
record fateh-hub hub a_node_is_made_followed nodes_are_listed_in_pages what_a_node_records_reaches_the_ledger \
  a_user_of_a_node_has_a_global_reference a_version_is_served_by_digest released_content_is_sent
record fateh-operator integration three_lines_become_a_node figures_are_copied a_change_is_carried_out stages_follow_one_another \
  a_suspended_node_keeps_its_data a_database_is_dropped_when_asked_on_postgresql_18
# At the end: another list makes another program.
cp "$work"/*.functions "$layout/"
wc -l "$layout"/*.functions
