//! What makes the program anew beside its sources: migrations, which are compiled in, and how it is laid out.

fn main() {
    let migrations = ["../node-runtime/migrations", "../hub/migrations"];
    for input in migrations.into_iter().chain(["../layout/linker.sh", "../layout/fateh-operator"]) {
        println!("cargo:rerun-if-changed={input}");
    }
}
