//! Gives the benchmark's object type information (BTF), without which the kernel lets no function but a program's
//! own make a tail call (`check_abnormal_return`, kernel/bpf/verifier.c).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "bpf") {
        println!("cargo::rustc-link-arg-bin=bench=--btf");
    }
}
