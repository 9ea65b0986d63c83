//! Lets the executable find a shared RocksDB where `scripts/install` puts it, otherwise where
//! `scripts/rocksdb` keeps it; a static one needs nothing.

fn main() {
    println!("cargo::rerun-if-env-changed=ROCKSDB_LIB_DIR");
    println!("cargo::rerun-if-env-changed=ROCKSDB_STATIC");
    if let (Some(folder), None) = (std::env::var_os("ROCKSDB_LIB_DIR"), std::env::var_os("ROCKSDB_STATIC")) {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib/millrace");
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
