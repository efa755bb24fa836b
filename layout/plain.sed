# A function's name without the hashes in it: its own, at the end (legacy mangling), and those of crates (v0).
s/17h[0-9a-f]{16}E$//
s/Cs[0-9A-Za-z]+_//g
