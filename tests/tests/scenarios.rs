//! Stories of the protocol, written by hand: what an operator lives through, in virtual time.
//!
//! `settle` waits until all has arrived and judges it: nothing lost, nothing twice, nothing out of order.

use std::time::Duration;

use causeway_tests::world::{Broken, Options, Shape, World};

const EU: usize = 0;
const US: usize = 1;
const LONG: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(30);

type Story = Result<(), Broken>;

/// A quiet world with a hundred records that have arrived.
fn at_work(options: Options) -> Result<World, Broken> {
    let mut world = World::new(options);
    world.run_for(Duration::from_secs(1))?;
    world.publish_plain(100);
    world.settle()?;
    assert_eq!(world.target_len(), 100);
    Ok(world)
}

fn shared() -> Options {
    Options {
        shape: Shape::SharedTarget,
        ..Options::calm()
    }
}

fn work_queue() -> Options {
    Options {
        work_queue: true,
        ..Options::calm()
    }
}

#[test]
fn a_link_cut_for_longer_than_the_dedupe_window() -> Story {
    let mut world = at_work(Options::calm())?;
    world.publish_plain(200);
    world.run_for(MOMENT * 2)?; // on their way
    world.cut(EU, LONG); // the acks do not come back
    world.run_for(LONG * 2)?;
    world.publish_plain(10);
    world.settle()?;
    assert_eq!(world.target_len(), 310);
    Ok(())
}

#[test]
fn a_target_side_killed_between_the_answer_and_its_checkpoint() -> Story {
    let mut world = at_work(Options::calm())?;
    world.publish_plain(300);
    world.run_until_stored(250)?;
    world.crash_bridge(US, LONG);
    world.settle()?;
    assert_eq!(world.target_len(), 400);
    Ok(())
}

#[test]
fn a_source_side_killed_with_batches_under_way() -> Story {
    let mut world = at_work(Options::calm())?;
    world.publish_plain(300);
    world.run_until_stored(250)?;
    world.crash_bridge(EU, LONG);
    world.settle()?;
    assert_eq!(world.target_len(), 400);
    Ok(())
}

#[test]
fn a_target_that_lost_its_end_is_repaired() -> Story {
    let mut world = at_work(Options::calm())?;
    world.crash_server(US, MOMENT, false);
    world.go_back(US, 0, 40); // an older state is put back
    world.settle()?;
    assert_eq!(world.target_len(), 100);
    Ok(())
}

#[test]
fn a_target_put_back_behind_an_idle_route_is_repaired_by_the_next_record() -> Story {
    for options in [Options::calm(), shared()] {
        let mut world = at_work(options)?;
        world.run_for(LONG)?;
        world.go_back(US, 0, 40); // while its connection stands
        world.publish_plain(1);
        world.settle()?;
        assert_eq!(world.target_len(), 101);
    }
    Ok(())
}

#[test]
fn a_target_made_anew_behind_an_idle_route_gets_all_again() -> Story {
    for options in [Options::calm(), shared()] {
        let mut world = at_work(options)?;
        world.run_for(LONG)?;
        world.recreate(US, 0);
        world.publish_plain(1);
        world.settle()?;
        assert_eq!(world.target_len(), 101);
    }
    Ok(())
}

/// A short or a long run covers the hole before anybody looks. It is not taken for what was lost, and comes again
/// behind that, in its order, whether the target's server still knows it or not.
#[test]
fn a_target_put_back_under_a_busy_route_is_repaired() -> Story {
    let windows = [1, 2000, 120_000].map(Duration::from_millis);
    for (count, window) in [5, 60].into_iter().flat_map(|n| windows.map(|w| (n, w))) {
        for options in [Options::calm(), shared()] {
            let mut world = at_work(Options {
                batch_len_max: 100_000, // one run
                batch_records_max: 1000,
                window,
                ..options
            })?;
            world.publish_plain(1); // a run that shows what the target is
            world.run_until_stored(101)?;
            world.run_for(MOMENT)?;
            world.go_back(US, 0, 40);
            world.publish_plain(count);
            world.settle()?;
            let covered = world.target_len() - (101 + count);
            assert!((1..=count).contains(&covered), "{covered} of {count}");
        }
    }
    Ok(())
}

#[test]
fn a_source_made_anew_begins_a_new_epoch() -> Story {
    let mut world = at_work(Options::calm())?;
    world.recreate(EU, 0);
    world.publish_plain(150); // sequences that were given out before
    world.settle()?;
    assert_eq!(world.target_len(), 250);
    Ok(())
}

#[test]
fn a_source_that_was_rolled_back_sends_only_what_is_new() -> Story {
    let mut world = at_work(Options::calm())?;
    world.go_back(EU, 0, 30);
    world.publish_plain(50);
    world.settle()?;
    assert_eq!(world.target_len(), 150);
    Ok(())
}

#[test]
fn a_store_is_rebuilt_from_a_target_of_its_own() -> Story {
    let mut world = at_work(Options::calm())?;
    world.crash_bridge(US, LONG);
    world.wipe_store(US);
    world.publish_plain(10);
    world.settle()?;
    assert_eq!(world.target_len(), 110);
    Ok(())
}

#[test]
fn a_store_is_rebuilt_from_a_target_that_others_write_too() -> Story {
    let mut world = at_work(shared())?;
    world.publish_at_target(50);
    world.crash_bridge(US, LONG);
    world.wipe_store(US);
    world.publish_plain(10);
    world.settle()?;
    assert_eq!(world.target_len(), 160);
    Ok(())
}

#[test]
fn both_stores_are_deleted() -> Story {
    let mut world = at_work(Options::calm())?;
    for region in [EU, US] {
        world.crash_bridge(region, LONG);
        world.wipe_store(region);
    }
    world.publish_plain(10);
    world.settle()?;
    assert_eq!(world.target_len(), 110);
    Ok(())
}

#[test]
fn a_poison_record_is_kept_aside_and_the_route_goes_on() -> Story {
    let mut world = at_work(Options::calm())?;
    world.publish_plain(5);
    world.publish_poison();
    world.publish_plain(5);
    world.settle()?;
    assert_eq!(world.target_len(), 110);
    Ok(())
}

#[test]
fn a_full_target_recovers_by_itself() -> Story {
    let mut world = at_work(Options::calm())?;
    world.set_full(US, 0, true);
    world.publish_plain(50);
    world.run_for(LONG)?;
    assert_eq!(world.target_len(), 100);
    world.set_full(US, 0, false);
    world.settle()?;
    assert_eq!(world.target_len(), 150);
    Ok(())
}

#[test]
fn a_consumed_work_queue_is_known_by_its_count() -> Story {
    let mut world = at_work(work_queue())?;
    world.publish_plain(300);
    world.run_until_stored(250)?;
    world.consume_all();
    world.crash_bridge(US, LONG);
    world.settle()?;
    world.consume_all();
    assert_eq!(world.target_last_seq(), 400);
    Ok(())
}

/// As in a bucket of keys with a time to live: the server's markers take sequences while the route is idle, and go.
#[test]
fn markers_of_the_targets_server_are_not_taken_for_records() -> Story {
    let mut world = at_work(Options {
        adds_markers: true,
        ..Options::calm()
    })?;
    world.end_with_markers(7);
    world.crash_bridge(US, MOMENT);
    world.publish_plain(50);
    world.settle()?;
    assert_eq!(world.target_last_seq(), 157);
    world.end_with_markers(7); // while the connection stands
    world.publish_plain(50);
    world.settle()?;
    assert_eq!(world.target_last_seq(), 214);
    Ok(())
}

/// Nothing shows what such a queue took. It waits for a decision, and only for that.
#[test]
fn a_consumed_work_queue_without_its_store_waits_for_a_seek() -> Story {
    let mut world = at_work(work_queue())?;
    world.consume_all();
    world.crash_bridge(US, MOMENT);
    world.wipe_store(US);
    world.publish_plain(10);
    world.run_for(LONG)?;
    world.break_session(); // the lane is opened again, and nobody has decided
    world.run_for(LONG)?;
    assert_eq!(world.target_last_seq(), 100);
    world.seek(95);
    world.settle()?;
    assert_eq!(world.target_last_seq(), 115);
    Ok(())
}

#[test]
fn a_seek_sends_again_what_an_operator_asks_for() -> Story {
    let mut world = at_work(Options::calm())?;
    world.seek(60);
    world.settle()?;
    assert_eq!(world.target_len(), 140);
    world.crash_bridge(US, LONG);
    world.publish_plain(1);
    world.settle()?; // and it sends it once
    assert_eq!(world.target_len(), 141);
    Ok(())
}

#[test]
fn somebody_else_writes_a_target_that_should_be_the_routes_own() -> Story {
    let mut world = at_work(Options::calm())?;
    world.publish_at_target(3);
    world.publish_plain(100);
    world.settle()?;
    assert_eq!(world.target_len(), 203);
    Ok(())
}
