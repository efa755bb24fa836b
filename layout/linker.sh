#!/usr/bin/env bash
# Links a program with the functions that it uses one after another, those first that it uses at rest: the pages of all
# the others are never touched, and so are in nobody's memory. Which they are stands in the directory of the program's
# name; a function that does not is only farther away.
# The hashes in names change with every dependency. A function that is not found by its own is looked for without, and
# all that are called so are taken for it: the older the lists, the more is together that is not used.
# FATEH_NAMED: a directory for the same program with its symbols, from which record.sh learns.
set -euo pipefail
export LC_ALL=C
layout=$(dirname "$0")
objects=()
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    -o) next=$((i + 1)) output=${!next} ;;
    *.o | *.rlib) objects+=("${!i}") ;;
  esac
done
program=$(basename "$output" | sed -E 's/-[0-9a-f]{16}$//; s/_/-/g')

placed=()
if [ -d "$layout/$program" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  nm --defined-only --just-symbols --quiet "${objects[@]}" | sort -u > "$work/symbols"
  for functions in "$layout/$program"/{rest,work}; do
    # Those of the C library are among them, and not in what is looked through here.
    cat "$functions" >> "$work/order"
    comm -23 "$functions" "$work/symbols" | sed -E -f "$layout/plain.sed" | sort -u > "$work/renamed"
    comm -13 "$functions" "$work/symbols" > "$work/others"
    paste -d' ' <(sed -E -f "$layout/plain.sed" "$work/others") "$work/others" | sort | join -o 2.2 "$work/renamed" - >> "$work/order"
  done
  placed=("-Wl,--symbol-ordering-file=$work/order" -Wl,--no-warn-symbol-ordering)
fi
if [ -n "${FATEH_NAMED:-}" ]; then
  named=()
  for argument in "$@"; do
    case $argument in
      "$output") named+=("$FATEH_NAMED/$program") ;;
      -Wl,--strip-all) ;;
      *) named+=("$argument") ;;
    esac
  done
  cc "${named[@]}" "${placed[@]}"
fi
cc "$@" "${placed[@]}"
