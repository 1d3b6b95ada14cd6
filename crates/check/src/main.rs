//! stub
use std::io::Write;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut c = tanist_check::Configuration::named(&args[1]).unwrap();
    c.tooth = args.get(2).and_then(|t| tanist_check::Tooth::parse(t));
    let limit = args.get(3).map_or(u64::MAX, |l| l.parse().unwrap());
    let f = tanist_check::exhaust(c, limit);
    let mut o = std::io::stdout();
    let _ = writeln!(o, "states {} quiet {} trans {} depth {} complete {} took {:?} {:?}", f.states, f.quiet, f.transitions, f.depth, f.complete, f.took, f.census);
    if let Some(t) = f.trace {
        for (i, s) in t.steps.iter().enumerate() { let _ = writeln!(o, "{:3} {s}", i+1); }
        let _ = writeln!(o, "{}: {}", t.fault.promise, t.fault.detail);
    }
}
