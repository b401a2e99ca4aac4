//! What becomes of a VIP when few of its reals are up, and what the operator may say to it.

use super::*;
use crate::model::{Amount, Watermarks};

#[test]
fn a_vip_and_a_real_can_be_overridden() {
    let vip = |text: &str| parse(text).unwrap().vips.remove(0);
    assert!(!vip(&with_vip("state = \"disabled\"")).enabled);
    assert!(vip(&with_vip("state = \"enabled\"")).enabled);
    assert!(vip(&with_real("force_up = true")).reals[0].force_up);
    check(
        with_vip,
        &[(
            "state = \"active\"",
            "7:9: vip \"web\": unknown vip state \"active\"; one of: enabled, disabled",
        )],
    );
    check(
        with_real,
        &[(
            "force_up = \"yes\"",
            "9:12: vip \"web\", real 10.0.0.11: force_up must be true or false, not a string",
        )],
    );
}

#[test]
fn a_vip_is_down_below_a_number_or_a_share_of_reals() {
    use Amount::{Count, Share};
    let marks = |lines: &str| parse(&with_vip(lines)).unwrap().vips[0].min_up;
    for (lines, low, high) in [
        ("min_up = 2", Count(2), Count(2)),
        ("min_up = \"2\"\nmin_up_high = 0x10", Count(2), Count(16)),
        ("min_up = \"50%\"\nmin_up_high = \"50%\"", Share(50), Share(50)),
        ("min_up = \"1%\"\nmin_up_high = \"100%\"", Share(1), Share(100)),
    ] {
        assert_eq!(marks(lines), Some(Watermarks { low, high }), "{lines}");
    }
}

#[test]
fn a_wrong_number_or_share_of_reals_is_refused() {
    let amount = "is not a number of reals; write one from 1 on, such as 2, or a share such as 50%";
    let compare = "cannot be compared; write two numbers or two shares";
    check(
        with_vip,
        &[
            ("min_up = 0", &format!("7:10: vip \"web\": min_up: \"0\" {amount}")),
            ("min_up = -1", &format!("7:10: vip \"web\": min_up: \"-1\" {amount}")),
            ("min_up = \"101%\"", &format!("7:10: vip \"web\": min_up: \"101%\" {amount}")),
            (
                "min_up = 0.5",
                "7:10: vip \"web\": min_up must be a number of reals such as 2 or a share such as \"50%\", not a number with a fraction",
            ),
            (
                "min_up = 3\nmin_up_high = 2",
                "8:15: vip \"web\": min_up_high 2 is less than min_up 3; raise it, or lower min_up",
            ),
            (
                "min_up = \"50%\"\nmin_up_high = \"49%\"",
                "8:15: vip \"web\": min_up_high 49% is less than min_up 50%; raise it, or lower min_up",
            ),
            (
                "min_up = 3\nmin_up_high = \"50%\"",
                &format!("8:15: vip \"web\": min_up_high 50% and min_up 3 {compare}"),
            ),
            (
                "min_up_high = 2",
                "7:15: vip \"web\": min_up_high is where a VIP returns that min_up has taken down; write min_up too, or remove it",
            ),
        ],
    );
}

#[test]
fn all_reals_are_used_below_a_share_unless_the_vip_is_to_be_down() {
    let vip = parse(&with_vip("panic_threshold = \"30%\"")).unwrap().vips.remove(0);
    assert_eq!(vip.panic_threshold, Some(30));
    let share = "is not a share of the reals; write 1% to 100%";
    check(
        with_vip,
        &[
            (
                "panic_threshold = \"3\"",
                &format!("7:19: vip \"web\": panic_threshold \"3\" {share}"),
            ),
            (
                "panic_threshold = \"0%\"",
                &format!("7:19: vip \"web\": panic_threshold \"0%\" {share}"),
            ),
            (
                "panic_threshold = 30",
                "7:19: vip \"web\": panic_threshold must be a string, not a whole number",
            ),
            (
                "min_up = 1\npanic_threshold = \"30%\"",
                "8:19: vip \"web\": panic_threshold keeps a VIP up when few reals are, min_up takes it down then; remove one of them",
            ),
        ],
    );
}
