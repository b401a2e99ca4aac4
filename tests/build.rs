//! Tells the benchmark where its BPF object is, which lb-user's build script has built.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    match std::env::var("DEP_LB_EBPF_OBJECTS") {
        Ok(dir) => println!("cargo::rustc-env=LB_OBJECTS={dir}"),
        Err(_) => println!("cargo::error=lb-user has not said where its BPF objects are"),
    }
}
