//! Another layout makes another program.

fn main() {
    for input in ["../layout/linker.sh", "../layout/fateh-hub"] {
        println!("cargo:rerun-if-changed={input}");
    }
}
