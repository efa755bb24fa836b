//! Another layout makes another program.

fn main() {
    for input in ["../layout/linker.sh", "../layout/node-runtime"] {
        println!("cargo:rerun-if-changed={input}");
    }
}
