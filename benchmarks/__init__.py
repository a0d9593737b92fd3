"""How fast the labelling is, next to what others would use and next to what the device can do.

`python -m benchmarks` measures speed, `python -m benchmarks.engine` that of the engine alone on any device, `python -m
benchmarks.profile` where its time goes, `python -m benchmarks.tokenizing` that of a CPU core that feeds a GPU, `python
-m benchmarks.memory` the peak memory of a whole job, `python -m benchmarks.safety` what losing nothing costs, `python
-m benchmarks.scale` what a billion pairs take, `python -m
benchmarks.zero_shot` the ranking of topics. A row's way through here: `checkpoint` and `workloads` make the work,
`peers`, `exported` and `ours` do it in this process, `whole_jobs` in processes of their own, `rounds` times them in
turn, `limit` says what the device allows, `meter` measures it next to our rows, `quiet` watches the machine, `section`
puts them together, `table` shows them.
"""
