//! One library at a time, in its best arrangement: for watching a change. `codec-table` compares them in one run.

use std::time::{Duration, Instant};

use codec_bench::libraries::{codes, compare_with_reference, sizes};
use codec_engine::{Arena, Runner, Shape, Task};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn tasks(shape: Shape) -> [(&'static str, Task); 4] {
    let blob = 16 << 20;
    let weft = sizes(shape, blob);
    [
        ("encode", Task::Encode { shape, blob, threads: 1, weft }),
        ("symbol", Task::Symbol { shape, symbol: 64 << 10, cold: false }),
        ("rebuild", Task::Rebuild { shape, symbol: weft.full }),
        ("decode", Task::Decode { shape, blob, lost: shape.f, weft }),
    ]
}

fn bench(criterion: &mut Criterion) {
    for shape in [10, 31, 100].map(Shape::new) {
        compare_with_reference(shape).expect("Weft's bytes are right");
        for (name, task) in tasks(shape) {
            let mut group = criterion.benchmark_group(format!("{name}, n = {}", shape.n));
            group.throughput(Throughput::Bytes(task.bytes() as u64));
            for library in codes() {
                let mut arena = Arena::default();
                let mut runner = None;
                group.bench_function(library.name(), |bencher| {
                    // Not before it is known that this one wasn't filtered away.
                    let runner = runner.get_or_insert_with(|| {
                        Runner::best(&*library, task, &mut arena).expect("its results are right")
                    });
                    bencher.iter_custom(|times| {
                        let start = Instant::now();
                        (0..times).for_each(|_| {
                            runner.round(&mut arena, Duration::ZERO);
                        });
                        start.elapsed()
                    });
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    targets = bench
}
criterion_main!(benches);
