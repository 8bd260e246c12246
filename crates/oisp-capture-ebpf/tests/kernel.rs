//! smoke
use oisp_capture::*;
use oisp_capture_ebpf::*;
use std::process::Command;
#[test]
fn smoke() {
    let t = std::time::Instant::now();
    let mut cap = EbpfCapture::load(&Options::default()).unwrap_or_else(|e| panic!("{e}"));
    eprintln!("load {:?}", t.elapsed());
    let mut command = Command::new("bash");
    command.args(["-c", "openssl version; true; openssl s_client -connect 127.0.0.1:1 </dev/null; python3 -c 'print(1)'; exit 3"]);
    let held = HeldCommand::start(command).expect("held");
    let c = candidates_of_command(std::path::Path::new("/bin/bash"), |n| std::env::var_os(n));
    eprintln!("{c:?}");
    let t = std::time::Instant::now();
    cap.record_command(held.pid(), &c).expect("ok");
    eprintln!("attach {:?}", t.elapsed());
    for f in cap.attached_files() {
        eprintln!("{f:?}");
    }
    let mut child = held.release().expect("r");
    let stop = Stop::new().expect("stop");
    let s2 = stop.clone();
    let th = std::thread::spawn(move || {
        let s = child.wait();
        s2.request();
        s
    });
    cap.run(&stop, &mut |e| eprintln!("{e:?}")).expect("run");
    eprintln!("{:?} {:?}", th.join(), cap.statistics());
}
