# A function's name without what changes from build to build: the numbers of its copies, and the hashes of crates (v0).
s/(\.[0-9]+)+$//
s/Cs[0-9A-Za-z]+_//g
