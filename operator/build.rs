//! What makes the program anew beside its sources: migrations, which are compiled in, and how it is laid out.

fn main() {
    for input in ["../node-runtime/migrations", "../hub/migrations", "../layout/fateh-operator"] {
        println!("cargo:rerun-if-changed={input}");
    }
}
