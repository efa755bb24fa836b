//! Migrations are compiled in: a new file among them makes the program anew.

fn main() {
    for migrations in ["../node-runtime/migrations", "../hub/migrations"] {
        println!("cargo:rerun-if-changed={migrations}");
    }
}
