use std::path::Path;

use super::*;

fn reads(text: &str) -> Draft {
    read(text, Path::new("rules")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> String {
    read(text, Path::new("rules")).map(|_| ()).unwrap_err().to_string()
}
