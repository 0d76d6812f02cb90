//! What every backend must do. A new backend is one more line in [`backends`].

mod modules;
mod registry;
mod tasks;
mod tokens;

use dormouse_store::Store;

use crate::support::open;

/// The test, and then: a reopened store knows the same totals.
fn on_sled(test: fn(&Store)) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    test(&store);
    let seen = |store: &Store| {
        (
            store.modules.totals(),
            store.registry.count(),
            store.registry.agents(None, 100).unwrap(),
            store.tasks.counts(),
            store.tokens.tokens().unwrap(),
        )
    };
    let before = seen(&store);
    store.close().unwrap();
    assert_eq!(seen(&open(dir.path())), before);
}

fn in_memory(test: fn(&Store)) {
    test(&Store::in_memory());
}

macro_rules! backends {
    ($($area:ident: $($test:ident)*;)*) => {
        mod sled {
            $($(#[test] fn $test() { super::on_sled(super::$area::$test); })*)*
        }
        mod memory {
            $($(#[test] fn $test() { super::in_memory(super::$area::$test); })*)*
        }
    };
}

backends! {
    modules:
        a_module_is_kept_once_and_removed
        totals_follow_every_change
        an_empty_module_is_a_module;
    registry:
        versions_count_up_and_the_newest_is_active
        the_same_module_again_keeps_its_number
        one_deploy_changes_all_its_agents
        activate_switches_to_known_versions_only
        a_split_lasts_until_a_deploy_or_a_switch
        a_deleted_agent_never_reuses_a_number
        references_count_versions
        agents_are_listed_by_name_in_pages
        large_definitions_come_back_whole
        a_name_too_long_changes_nothing
        limits_belong_to_their_agent
        names_that_begin_alike_stay_apart;
    tasks:
        a_write_is_visible_when_done
        done_runs_in_the_order_of_submission
        events_are_read_from_a_number
        state_is_set_replaced_and_removed
        records_are_read_by_prefix_in_pages
        records_are_written_with_a_task_or_alone
        open_tasks_follow_the_last_write
        an_updated_task_moves_in_the_list
        counts_follow_status
        large_values_come_back_whole
        long_owners_and_keys_are_told_apart
        a_write_over_a_limit_stores_nothing
        many_threads_commit_at_once;
    tokens:
        tokens_are_kept_by_name_and_forgotten
        a_name_or_a_hash_is_there_once
        a_token_over_a_limit_is_not_kept;
}
