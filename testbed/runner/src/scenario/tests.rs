use super::*;

const EXAMPLE: &str = include_str!("../../../../scenarios/whatsapp/wifi-off-in-call.yaml");

#[test]
fn the_example_of_the_contract_is_sound() {
    let scenario = Scenario::parse("example", EXAMPLE, &[]).map_err(|problems| format!("{problems:?}"));
    assert_eq!(scenario.map(|scenario| scenario.name), Ok("wifi-off-in-call".to_owned()));
}
