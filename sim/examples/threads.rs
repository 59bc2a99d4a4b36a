use tidewall_sim::{
    choice::Chooser,
    drivers::threads,
    scenario::{Counts, Setting},
};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: u64 = args[1].parse().unwrap();
    let plant = args
        .get(2)
        .filter(|s| *s != "-")
        .map(|name| *tidewall::plant::Bug::ALL.iter().find(|b| b.name() == name).unwrap());
    let only: Option<u64> = args.get(3).map(|s| s.parse().unwrap());
    let t = std::time::Instant::now();
    let mut counts = Counts::default();
    let mut decisions = 0;
    for seed in only.unwrap_or(0)..only.map_or(n, |s| s + 1) {
        let setting = Setting { plant, with_lines: only.is_some(), ..Default::default() };
        let o = threads::run(Chooser::from_seed(seed), setting);
        counts.add(&o.counts);
        decisions += o.tape.len();
        if only.is_some() {
            for l in &o.lines {
                println!("{l}");
            }
        }
        if seed % 10 == 3 {
            let o2 = threads::run(Chooser::from_seed(seed), setting);
            assert_eq!(o.hash, o2.hash, "seed {seed} differs");
        }
        if let Some(v) = o.violation {
            println!("seed {seed}: {v}");
            break;
        }
    }
    println!("{counts:?} {decisions} decisions {:?}", t.elapsed());
}
