// Reader restores a TDFS store from its 24 words (or a keyring) and its holders' folders. It is docs/format.md written down once more by someone who
// saw that page and none of the other code; numbers in brackets are its sections. It is slow, changes nothing in a store, and lists what it cannot read.
package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

var manifest []string

type snapshot struct {
	name  string // VOLUME/NUMBER
	links map[uint64][]byte
	made  map[uint64]string // first names of files with several
}

func escape(s, more string) (out string) { // for the manifest and the folders' names
	for _, c := range []byte(s) {
		if c <= 0x20 || c >= 0x7f || strings.IndexByte("%"+more, c) >= 0 {
			out += fmt.Sprintf("%%%02X", c)
		} else {
			out += string(rune(c))
		}
	}
	return
}

func (s *snapshot) restore(path, target string, b []byte) (below [3]uint64) { // (13.1); entries, bytes, links
	r := &rd{b}
	version, kind, flags, id := r.u(1), r.u(1), r.varint(63), r.any()
	if below[0]++; flags == 1 {
		need(len(r.b) == 0 && len(s.links[id]) > 0, "a link to file %x", id)
		r, below[2] = &rd{s.links[id]}, 1
		r.is(2, kind<<8|1, "version and type of the link's file")
		flags = r.varint(63)
		need(r.any() == id, "the record of file %x is another's", id)
	}
	need(version == 1 && kind >= 1 && kind <= 7 && flags&1 == 0, "entry of version %d, type %d, flags %d", version, kind, flags)
	mode, uid, gid, sec, nano := r.varint(0xfff), r.varint(1<<32-1), r.varint(1<<32-1), r.signed(), r.varint(999999999)
	owner, group, count, what, xattrs := []byte{}, []byte{}, uint64(1), "-", [][2]string{}
	when(flags&16 != 0, func() { count = r.varint(1<<32 - 1) })
	when(flags&8 != 0, func() { owner, group = r.counted(255), r.counted(255) })
	when(flags&4 != 0, func() { xattrs = attributes(r) })
	when(flags&32 != 0, func() { r.u(1) })
	made := s.made[id]
	if s.made[id] = target; below[2] == 1 && made != "" {
		check(os.Link(made, target))
	}
	switch kind {
	case 1:
		f := must(os.OpenFile(target, os.O_CREATE|os.O_RDWR, 0600))
		defer f.Close()
		at, holes, h := uint64(0), [][2]uint64{}, blake3.New(32, nil)
		below[1] = content(r, func(n uint64, data []byte) {
			if last := len(holes) - 1; data != nil {
				must(f.WriteAt(data, int64(at)))
			} else if last >= 0 && holes[last][0]+holes[last][1] == at {
				holes[last][1] += n
			} else {
				holes = append(holes, [2]uint64{at, n})
			}
			at += n
		})
		check(f.Truncate(int64(at)))
		must(io.Copy(h, f))
		list := strings.NewReplacer("[[", "", "]]", "", "] [", ",", " ", "+", "[]", "-").Replace(fmt.Sprint(holes))
		what = fmt.Sprintf("%d:%x:%d:%s", at, h.Sum(nil), count, list)
	case 2:
		check(os.Mkdir(target, 0700))
		var sums [3]uint64
		table(r, func(key, value []byte) {
			n := string(key)
			need(len(n) <= 255 && n != "." && n != ".." && !strings.ContainsAny(n, "/\x00"), "a name that is none: %q", n)
			try(s.name+path+"/"+n, func() {
				x := s.restore(path+"/"+n, target+"/"+n, value)
				sums = [3]uint64{sums[0] + x[0], sums[1] + x[1], sums[2] + x[2]}
			})
		})
		said := [3]uint64{r.any(), r.any(), r.any()}
		when(said != sums, func() { problem("%s%s: holds %v (entries, bytes, links), its entry says %v", s.name, path, sums, said) })
		what, below = strings.Trim(strings.ReplaceAll(fmt.Sprint(said), " ", ":"), "[]"), [3]uint64{1 + said[0], said[1], said[2]}
	case 3:
		to := string(r.counted(4096))
		what = escape(to, "")
		when(made == "" || below[2] == 0, func() { check(os.Symlink(to, target)) })
	default:
		major, minor := uint64(0), uint64(0)
		when(kind == 5 || kind == 6, func() {
			major, minor = r.varint(1<<32-1), r.varint(1<<32-1)
			what = fmt.Sprintf("%d:%d", major, minor)
		})
		unix.Mknod(target, []uint32{unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFSOCK}[kind-4], int(unix.Mkdev(uint32(major), uint32(minor))))
	}
	r.end()
	line := fmt.Sprintf("%s/%s %c %04o %d:%d %s:%s %d.%09d %016x %s", s.name, escape(strings.TrimPrefix(path, "/"), ""), " fdlpcbs"[kind], mode, uid, gid,
		escape(string(owner), ":"), escape(string(group), ":"), sec, nano, id, what)
	for _, x := range xattrs {
		line += fmt.Sprintf(" %s=%x", escape(x[0], "="), x[1])
	}
	manifest = append(manifest, line)
	set := func(err error) { // what the output's file system refuses is no damage
		when(err != nil, func() { fmt.Fprintf(os.Stderr, "%s%s: could not be set: %v\n", s.name, path, err) })
	}
	when(os.Geteuid() == 0, func() { set(os.Lchown(target, int(uid), int(gid))) })
	for _, x := range xattrs {
		set(unix.Lsetxattr(target, x[0], []byte(x[1]), 0))
	}
	when(kind != 3, func() { set(unix.Chmod(target, uint32(mode))) })
	time := unix.Timespec{Sec: sec, Nsec: int64(nano)}
	set(unix.UtimesNanoAt(unix.AT_FDCWD, target, []unix.Timespec{time, time}, unix.AT_SYMLINK_NOFOLLOW))
	return
}

func restoreSnapshot(volume, output, key string, value []byte) { // (14.2)
	r := &rd{value}
	r.is(1, 1, "version of a snapshot")
	flags, number, host, program := r.u(1), r.any(), r.counted(4096), r.counted(4096)
	r.list(r.varint(256), func() { r.counted(4096) }) // labels
	r.list(r.varint(256), func() { r.counted(4096) }) // sources
	s := &snapshot{fmt.Sprintf("%s/%d", volume, number), nil, map[uint64]string{}}
	fmt.Fprintf(os.Stderr, "%s: flags %d, by %q on %q, %d torn, %d vanished, %d unreadable\n", s.name, flags, program, host, r.any(), r.any(), r.any())
	root := r.counted(32768)
	s.links = linkTable(r)
	r.end()
	target := filepath.Join(output, s.name)
	if _, err := os.Lstat(target); err == nil { // parted lines give a number twice
		s.name += fmt.Sprintf("-%x", key[8:])
		target = filepath.Join(output, s.name)
	}
	check(os.MkdirAll(filepath.Dir(target), 0755))
	s.restore("", target, root)
}

func main() {
	args, open := os.Args[1:], func(b []byte) { fromWords(string(b)) }
	if len(args) > 0 && args[0] == "--keyring" {
		args, open = args[1:], func(b []byte) { fromKeyring(b, bytes.TrimSuffix(must(io.ReadAll(os.Stdin)), []byte("\n"))) }
	}
	if len(args) < 3 {
		fmt.Fprintln(os.Stderr, "reader WORDS-FILE HOLDER... OUTPUT  or  reader --keyring KEYRING-FILE HOLDER... OUTPUT <PASSPHRASE; the manifest goes to stdout")
		os.Exit(2)
	}
	each := func(pattern string, use func(path string, b []byte)) { // what the holders have of a kind
		for _, holder := range args[1 : len(args)-1] {
			for _, path := range must(filepath.Glob(filepath.Join(holder, pattern))) {
				try(path, func() {
					f := must(os.Open(path))
					defer f.Close()
					source = path
					use(path, must(unix.Mmap(int(f.Fd()), 0, int(must(f.Stat()).Size()), unix.PROT_READ, unix.MAP_PRIVATE)))
				})
			}
		}
	}
	if try(args[0], func() { open(must(os.ReadFile(args[0]))) }) { // in the order of 11.1
		each("objects/anchor/"+tag+"-*", func(_ string, b []byte) { anchor(b) })
		each("objects/keys/"+tag+"-*", func(_ string, b []byte) { keysObject(b) })
		each("objects/catalog/*", func(path string, b []byte) { recordLog(path, b, 1, catalog) })
		each("objects/journal/*", func(path string, b []byte) { recordLog(path, b, 2, journal) })
		each("fragments/*/*", fragmentFile)
	}
	for id, a := range arenas { // one without a file was released, or the blocks that lack will tell
		when(a.found, func() { try("arena "+hex.EncodeToString([]byte(id)), a.open) })
	}
	volumes, found, used := map[string][]head{}, map[string][]head{}, map[string]bool{}
	for b, h := range heads {
		if id := h.volume; vouched(b, h) {
			volumes[id] = append(volumes[id], h)
		} else {
			h.name += " (unsigned)"
			volumes[id+b] = append(volumes[id+b], h)
		}
	}
	for _, score := range roots { // heads of volumes of which no other head is left
		before := len(problems)
		try("", func() { h, _ := volumeRoot(score, block(score, 5, 0)); found[h.volume] = append(found[h.volume], h) })
		problems = problems[:before]
	}
	for id, heads := range found {
		when(len(volumes[id]) == 0, func() { volumes[id] = heads })
	}
	for id, heads := range volumes {
		snapshots, keys, newest := map[string][]byte{}, []string{}, heads[0]
		for _, h := range heads {
			superseded := false
			for _, o := range heads {
				same := !parted[h.line]
				for file := range h.in {
					same = same || o.in[file]
				}
				superseded = superseded || o.line == h.line && o.seq > h.seq && same || o.seen[h.line] >= h.seq
			}
			when(!superseded && h.time > newest.time, func() { newest = h })
			when(!superseded, func() { try("volume "+h.name, func() { h.snapshots(snapshots) }) })
		}
		for key := range snapshots {
			keys = append(keys, key)
		}
		name := escape(newest.name, "/")
		when(used[name], func() { name += fmt.Sprintf("-%x", id[:16]) })
		used[name] = true
		sort.Strings(keys)
		for _, key := range keys {
			try(fmt.Sprintf("%s, %x", name, key), func() { restoreSnapshot(name, args[len(args)-1], key, snapshots[key]) })
		}
	}
	sort.Strings(manifest)
	for _, line := range manifest {
		fmt.Println(line)
	}
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	when(len(problems) > 0 || len(volumes) == 0, func() { os.Exit(1) })
}
