package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain makes of the test program, when it is called as the reader is, a reader that also prints a line for each entry that it restored, as
// tests/golden/README.md describes them. They stand in no order. Contents are hashed as the disk has them.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		output := os.Args[len(os.Args)-1]
		visit = func(target string, entry []byte) { fmt.Println(manifestLine(output, target, entry)) }
		main()
	}
	os.Exit(m.Run())
}

func escape(s string, more string) (out string) {
	for _, c := range []byte(s) {
		if c > 0x20 && c < 0x7f && strings.IndexByte("%"+more, c) < 0 {
			out += string(rune(c))
		} else {
			out += fmt.Sprintf("%%%02X", c)
		}
	}
	return
}

func manifestLine(output, target string, entry []byte) string {
	parts := strings.SplitN(strings.TrimPrefix(target, output+"/")+"/", "/", 3)
	shown := parts[0] + "/" + parts[1] + "/" + strings.TrimSuffix(escape(parts[2], ""), "/")
	r := begin(entry, "\x01")
	kind, flags, id := r.u(1), r.varint(), r.varint()
	mode, uid, gid, seconds, nano := r.varint(), r.varint(), r.varint(), r.signed(), r.varint()
	count, owner, group, what, xattrs := uint64(1), "", "", "-", ""
	if flags&16 != 0 {
		count = r.varint()
	}
	if flags&8 != 0 {
		owner, group = escape(string(r.counted()), ":"), escape(string(r.counted()), ":")
	}
	if flags&4 != 0 {
		for _, x := range attributes(r) {
			xattrs += fmt.Sprintf(" %s=%x", escape(x[0], "="), x[1])
		}
	}
	if flags&32 != 0 {
		r.u(1)
	}
	switch kind {
	case 1:
		at, holes := uint64(0), []string{}
		content(r, func(length uint64, data []byte) {
			if data == nil {
				holes = append(holes, fmt.Sprintf("%d+%d", at, length))
			}
			at += length
		})
		if len(holes) == 0 {
			holes = []string{"-"}
		}
		b := must(os.ReadFile(target))
		what = fmt.Sprintf("%d:%x:%d:%s", len(b), sum(b), count, strings.Join(holes, ","))
	case 2:
		table(r, r.u(1), func(_, _ []byte) {})
		what = fmt.Sprintf("%d:%d:%d", r.varint(), r.varint(), r.varint())
	case 3:
		what = escape(must(os.Readlink(target)), "")
	case 5, 6:
		what = fmt.Sprintf("%d:%d", r.varint(), r.varint())
	}
	return fmt.Sprintf("%s %c %04o %d:%d %s:%s %d.%09d %016x %s%s", shown, " fdlpcbs"[kind], mode, uid, gid, owner, group, seconds, nano, id, what, xattrs)
}
