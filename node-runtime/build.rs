//! Another layout makes another program.

fn main() {
    println!("cargo:rerun-if-changed=../layout/node-runtime");
}
