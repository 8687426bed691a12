//! The released client's command line, `j`, on the example exporter.

mod support;

use support::{case::Rig, daemon::Listen};

cases!(
    all_cases_are_listed: Rig::Example,
    "test_cli.py",
    [
        help_lists_the_tree,
        help_lists_the_commands,
        power_on,
        power_off,
        power_cycle,
        power_read,
        storage_host,
        storage_dut,
        storage_off,
        storage_flash,
        storage_flash_compressed,
        console_pipe,
        console_pipe_reads_on_after_the_end_of_input,
        console_pipe_to_a_file,
        console_pipe_without_output,
        start_console,
    ]
);

mod dump {
    use super::*;

    cases!(
        all_cases_are_listed: Rig::Exporter("small-card", Listen::Unix),
        "test_dump.py",
        [
            command_line,
            read_local_file,
        ]
    );
}
