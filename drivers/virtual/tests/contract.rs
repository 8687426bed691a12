//! The contract suite on the board; its parts are checked with it.

use rigd_driver::contract;
use rigd_drivers_virtual::{Board, BoardConfig, PartConfig};

#[tokio::test]
async fn the_board_and_its_parts_keep_the_contract() {
    contract::check::<Board>(BoardConfig::default()).await;
}

#[test]
fn configs_are_strict_and_documented() {
    contract::check_schema::<BoardConfig>();
    contract::check_schema::<PartConfig>();
}
