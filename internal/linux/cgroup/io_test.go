package cgroup

import (
	"reflect"
	"testing"
)

// TestV1NamesOnV2 reads CPU usage and I/O on v2, which has no controllers cpuacct and blkio.
func TestV1NamesOnV2(t *testing.T) {
	fs, _ := tree(t, v2Mount, map[string]string{
		v2Dir + "/c/cpu.stat": testdata(t, "v2-6.1/cpu.stat"),
		v2Dir + "/c/io.stat":  testdata(t, "v2-6.1/io.stat"),
	})
	g := open(t, fs, "/c")
	var u CPUUsage
	err := g.CPUUsage(&u, new(Scratch))
	if err != nil || u.Total != (CPUTime{User: 3e9, System: 2e9}) {
		t.Errorf("CPU usage %+v, %v", u, err)
	}
	want := []DeviceIO{
		{
			Major: 254, Reads: 100, ReadBytes: 4096000, Writes: 2, WriteBytes: 8192, Discards: 1,
			DiscardBytes: 1024,
		},
		{Major: 8, Minor: 16, Reads: 1, ReadBytes: 1},
	}
	if got, err := g.IO(nil, new(Scratch)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("I/O %+v, %v; want %+v", got, err, want)
	}
}

func TestIOV1(t *testing.T) {
	dir := v1Dir + "blkio/c/"
	throttle, cfq := make(map[string]string), make(map[string]string)
	for _, name := range []string{
		"blkio.throttle.io_serviced_recursive", "blkio.throttle.io_service_bytes_recursive",
	} {
		throttle[dir+name], cfq[dir+name] = testdata(t, "v1-5.10/"+name), "Total 0\n"
	}
	for _, name := range []string{
		"io_serviced", "io_service_bytes", "io_merged", "io_service_time", "io_queued",
	} {
		cfq[dir+"blkio."+name+"_recursive"] = testdata(t, "v1-4.19/blkio."+name+"_recursive")
	}
	tests := []struct {
		name  string
		files map[string]string
		want  []DeviceIO
	}{
		{"throttle", throttle, []DeviceIO{
			{Major: 254, Reads: 77, ReadBytes: 3153920, Writes: 11, WriteBytes: 45056},
			{Major: 253, Minor: 1, Reads: 5, ReadBytes: 20480},
		}},
		{"CFQ, with empty throttle files", cfq, []DeviceIO{{
			Major: 8, Reads: 120, ReadBytes: 4915200, Writes: 40, WriteBytes: 163840, Discards: 2,
			DiscardBytes: 8192, ReadMerges: 3, WriteMerges: 4, ReadNanos: 51000000,
			WriteNanos: 9000000, InFlight: 3,
		}}},
		{"no I/O", map[string]string{
			dir + "blkio.throttle.io_serviced_recursive": "Total 0\n",
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fs, _ := tree(t, allV1, tt.files)
			got, err := open(t, fs, "/c").IO(nil, new(Scratch))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}
