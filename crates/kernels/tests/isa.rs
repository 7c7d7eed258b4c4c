//! What is forced is in use, and what the machine has not is refused and changes nothing.

mod common;

use common::*;
use nurture_kernels::*;

#[test]
fn what_is_forced_is_in_use() {
    let _guard = hold();
    let here: Vec<Isa> = Isa::here().collect();
    for wanted in Isa::ALL {
        let before = isa();
        let there = here.contains(&wanted);
        assert_eq!(force_isa(wanted), there);
        assert_eq!(isa(), if there { wanted } else { before });
    }
    assert!(force_isa(detect_isa()));
    assert_eq!(isa(), detect_isa());
}
