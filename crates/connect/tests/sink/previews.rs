//! What a preview says is what is sent.

use super::*;

fn previewed(world: &World) -> Preview {
    world.preview(&mut *world.sink(Freeze::default()), 2)
}

#[test]
fn a_preview_counts_what_is_sent_then() {
    let mut world = World::new();
    assert_eq!(previewed(&world).changes, 0);
    for number in 0..25 {
        world.desire("a", &format!("p{number}@x.com"), Some("Dr"));
    }
    world.desire("a", "never@x.com", Some("Dr"));
    // Who comes and goes before a call is never sent.
    world.desire("a", "gone@x.com", Some("Dr"));
    world.desire("a", "gone@x.com", None);
    let first = previewed(&world);
    assert_eq!((first.changes, first.calls, world.calls()), (25, 3, 0));
    assert_eq!((first.audiences["a"].adds, first.audiences["a"].sample.len()), (25, 2));

    let mut task = world.opened();
    world.settle(&mut task);
    assert_eq!(world.calls(), 3, "as the preview says");
    let settled = previewed(&world);
    assert_eq!((settled.changes, settled.audiences["a"].delivered), (0, 25));

    world.brake = Brake {
        share: 0.3,
        least: 5,
        quiet: Duration::from_secs(60),
    };
    world.pass(3_600_000);
    world.desire("a", "p1@x.com", Some("Prof"));
    world.desire("b", "p1@x.com", Some("Dr"));
    for number in 2..12 {
        world.desire("a", &format!("p{number}@x.com"), None);
    }
    let edit = previewed(&world);
    let audience = &edit.audiences["a"];
    assert_eq!((audience.adds, audience.removes, audience.others, audience.held), (0, 10, 1, true));
    assert_eq!((edit.changes, edit.calls, edit.audiences["b"].held), (12, 3, false));
}
