//! All automation of the repository that is not cargo itself.
fn main() {}
