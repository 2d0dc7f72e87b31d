//! The list of threats.

#[test]
fn the_list_of_threats_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    let mut folders = vec![root.join("tests"), root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let list = std::fs::read_to_string(root.join("tests/SECURITY.md")).unwrap();
    let names: Vec<_> = list.split('`').filter_map(|part| Some(part.rsplit_once("::")?.1)).collect();
    let tests = names.iter().filter(|name| name.contains('_'));
    let missing: Vec<_> = tests.clone().filter(|name| !source.contains(&format!("fn {name}()"))).collect();
    assert!(missing.is_empty() && tests.count() > 25, "{missing:?}");
    let rows = |number: u32| list.lines().filter(|line| line.starts_with(&format!("| {number} |"))).count();
    assert!((1..=31).all(|number| rows(number) == 1));
}
