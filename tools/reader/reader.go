// Reader restores a TDFS store from its 24 words (or a keyring) and its holders' folders. It follows docs/format.md alone and shares nothing with the
// other code; numbers in brackets are that page's sections. It is slow, changes nothing in a store, and lists what it cannot read: damage panics, is
// listed by the nearest try, and what can be read without it is. It reads what restoring needs: the keys objects for the domains, the catalogs for the
// heads, unasked who signed them. Left out are the ways around what every holder has (anchors; roots without a head, 11.1; an arena's header by a
// catalog) and the shorter branch of a line that parted (4). examples_test.go reads anchors and the catalogs' arenas.
package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/reedsolomon"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	"golang.org/x/sys/unix"
	"lukechampine.com/blake3"
)

type (
	fields struct{ *bytes.Buffer }             // what is left of a structure
	place  func() (clump []byte, epoch string) // of a block; an epoch is its domain and number, as an arena's header has them
	arena  struct {
		id, epoch string
		k, m, s   uint64
		parts     [][]byte // the fragments; nil: no good one is there
	}
	head struct { // (10)
		volume, line, root, name string // line: device and incarnation
		sequence                 uint64
		seen                     map[string]uint64 // by line
	}
)

var (
	//go:embed english.txt
	english                         string                                                         // BIP-39's list
	account, anchorKey, recoveryKey []byte                                                         // a keyring has no recovery key
	tag, source                     string                                                         // the account's, in hexadecimal; the file that is read
	scoreKeys, epochKeys            = map[string][]byte{}, map[string][2][]byte{}                  // by domain; by epoch: of blocks, of arenas
	heads, arenas, index            = map[string]head{}, map[string]*arena{}, map[string][]place{} // by bytes; by id; by score
	opened, cleartext               = &arena{}, []byte{}                                           // the arena that was read last, and its image
	links, made, restored           = map[uint64][]byte{}, map[uint64]string{}, map[string]int{}   // by file id, of one snapshot; snapshots
	damaged, visit                  = false, func(target string, entry []byte) {}                  // visit: what a test does with each
	le, unzstd                      = binary.LittleEndian, must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(8<<20), zstd.WithDecoderConcurrency(1)))
)

func when(condition bool, do func()) {
	if condition {
		do()
	}
}
func note(what string, trouble any) bool { // which is no damage by itself
	when(trouble != nil, func() { fmt.Fprintf(os.Stderr, "%q: %v\n", what, trouble) })
	return trouble != nil
}
func try(what string, do func()) (ok bool) {
	defer func() { damaged = note(what, recover()) || damaged }()
	do()
	return true
}
func must[T any](v T, err error) T {
	check(err)
	return v
}
func check(err error)                       { need(err == nil, "%v", err) }
func need(ok bool, format string, a ...any) { when(!ok, func() { panic(fmt.Sprintf(format, a...)) }) }

// Fields (1, 12.1). What is cut short panics by itself.
func of(b []byte) fields                { return fields{bytes.NewBuffer(b[:len(b):len(b)])} }
func (r fields) take(n uint64) []byte   { return r.Next(int(n))[:n:n] }
func (r fields) s(n uint64) string      { return string(r.take(n)) }
func (r fields) u(n uint64) uint64      { return le.Uint64(append(r.take(n), make([]byte, 8)...)) }
func (r fields) varint() uint64         { return must(binary.ReadUvarint(r)) }
func (r fields) signed() int64          { return must(binary.ReadVarint(r)) }
func (r fields) short() string          { return r.s(r.u(1)) }
func (r fields) counted() []byte        { return r.take(r.varint()) }
func (r fields) before(b []byte) []byte { return b[:len(b)-r.Len()] } // what was read of b
func (r fields) checksum(b []byte)      { need(sum(r.before(b)) == r.s(32), "its checksum does not fit") }
func (r fields) end()                   { need(r.Len() == 0, "%d bytes too many", r.Len()) }
func (r fields) list(n uint64, item func()) fields {
	for ; n > 0; n-- {
		item()
	}
	return r
}
func begin(b []byte, expected string) fields { // a structure's magic or version
	need(bytes.HasPrefix(b, []byte(expected)), "begins with %.8q, expected %q", b, expected)
	return of(b[len(expected):])
}

func sum(b []byte) string          { return fmt.Sprintf("%s", blake3.Sum256(b)) } // (2.1)
func gcm(key []byte) cipher.AEAD   { return must(cipher.NewGCM(must(aes.NewCipher(key)))) }
func ctr(key []byte) cipher.Stream { return cipher.NewCTR(must(aes.NewCipher(key)), make([]byte, 16)) } // (2.5)
func derive(context string, parts ...[]byte) []byte { // (3)
	key := make([]byte, 32)
	blake3.DeriveKey(key, "tdfs 2026-11 "+context+" v1", bytes.Join(parts, nil))
	return key
}
func dare(key, m []byte) (plain []byte) { // (2.4)
	suite, nonce := m[1], append([]byte{m[4] & 127}, m[5:16]...)
	aead := []cipher.AEAD{gcm(key), must(chacha20poly1305.New(key))}[suite]
	for number, last := uint32(0), byte(0); last == 0; number++ {
		n := 33 + int(le.Uint16(m[2:]))
		when(n == len(m), func() { last = 128 })
		header := append([]byte{0x20, suite, m[2], m[3], nonce[0] | last}, nonce[1:]...)
		need(bytes.Equal(header, m[:16]) && (n == 65568 || last > 0), "DARE: header of package %d", number)
		le.PutUint32(header[12:], le.Uint32(header[12:])^number)
		plain, m = must(aead.Open(plain, header[4:], m[16:n], header[:4])), m[n:]
	}
	return
}

func fromWords(text []byte) { // (3.1)
	words, list, number := strings.Fields(strings.ToLower(string(text))), strings.Fields(english), new(big.Int)
	need(len(words) == 24, "%d words, expected 24", len(words))
	for _, w := range words {
		n := sort.SearchStrings(list, w)
		need(n < len(list) && (list[n] == w || len(w) >= 4 && strings.HasPrefix(list[n], w)), "%q is not a word of the list", w)
		number.Or(number.Lsh(number, 11), big.NewInt(int64(n)))
	}
	bits := number.FillBytes(make([]byte, 33))
	need(sha256.Sum256(bits[:32])[0] == bits[32], "the words' checksum does not fit")
	account = ed25519.NewKeyFromSeed(derive("account signing key", bits[:32])).Public().(ed25519.PublicKey)
	recoveryKey, anchorKey = derive("account recovery key", bits[:32]), derive("account anchor key", bits[:32])
	tag = fmt.Sprintf("%x", derive("account tag", bits[:32])[:16])
}
func fromKeyring(b []byte) { // (3.4)
	r, unlock := begin(b, "TDFSKEY1"), make([]byte, 32)
	mode, passes, memory, salt, message := r.u(4), r.u(4), r.u(4), r.take(16), r.take(r.u(4))
	r.checksum(b)
	need(mode < 2 && passes <= 16 && memory <= 1<<20, "mode %d, %d passes, %d KiB", mode, passes, memory)
	passphrase := func() []byte { return bytes.TrimSuffix(must(io.ReadAll(os.Stdin)), []byte("\n")) }
	when(mode == 1, func() { unlock = argon2.IDKey(passphrase(), salt, uint32(passes), uint32(memory), 1, 32) })
	r = of(dare(derive("keyring", unlock, b[:36]), message))
	account, _, tag, anchorKey, _, _ = r.take(32), r.take(32), fmt.Sprintf("%x", r.take(16)), r.take(32), r.take(4+32+32+32), r.short()
	certificate(r.take(r.u(2)))
	r.list(r.u(4), func() { domain(r.take(r.u(4))) }).end()
}
func certificate(b []byte) (device ed25519.PublicKey) { // (3.1)
	issued, issuer := bytes.HasPrefix(b, []byte("TDFSCRT2")), account
	r := begin(b, map[bool]string{false: "TDFSCRT1", true: "TDFSCRT2"}[issued])
	by, _, device, _, _ := r.take(32), r.u(4), r.take(32), r.take(32+8), r.short()
	when(issued, func() { issuer = certificate(r.take(r.u(2))) })
	need(len(b) <= 986 && bytes.Equal(by, account) && ed25519.Verify(issuer, r.before(b), r.take(64)), "the certificate's signature")
	r.end()
	return device
}
func domain(b []byte) { // (3.2)
	r := begin(b, "\x01")
	_, id := r.take(3), r.s(16)
	scoreKeys[id], _ = r.take(32), r.take(32)
	r.list(r.u(4), func() { epochKeys[id+r.s(4)] = [2][]byte{r.take(32), r.take(32)} }).end()
}
func unwrap(b []byte) { // (3.3)
	r := begin(b, "TDFSWRP1")
	ephemeral, public := r.take(32), must(curve25519.X25519(recoveryKey, curve25519.Basepoint))
	domain(dare(derive("key wrap", must(curve25519.X25519(recoveryKey, ephemeral)), ephemeral, public), r.Bytes()))
}
func keysObject(b []byte) { // (11)
	r := begin(b, "TDFSDOM1")
	by, _, nonce := fmt.Sprintf("%x", r.take(16)), r.u(8), r.take(12)
	body := must(gcm(anchorKey).Open(nil, nonce, r.Bytes(), b[:32]))
	r = of(body)
	certificates, device, domains, wrap := r.u(2), certificate(r.take(r.u(4))), r.u(2), r.take(r.u(4))
	message := bytes.Join([][]byte{[]byte("TDFS keys v1"), b[:32], r.before(body)}, nil)
	need(by == tag && certificates == 1 && domains == 1 && ed25519.Verify(device, message, r.take(64)), "signature")
	r.end()
	when(recoveryKey != nil, func() { unwrap(wrap) }) // a keyring has the domains themselves
}

func addHead(b []byte) { // (10)
	r, h, domain := begin(b, "\x01"), head{seen: map[string]uint64{}}, ""
	h.volume, domain, h.line, h.sequence, _, h.root, _, h.name = r.s(16), r.s(16), r.s(4+8), r.u(8), r.u(8), r.s(32), r.take(32), r.short()
	r.list(r.u(1), func() { h.seen[r.s(4+8)] = r.u(8) }).take(64)
	r.end()
	when(scoreKeys[domain] != nil, func() { heads[string(b)] = h }) // the other volumes are burnable ones
}
func recordLog(b []byte) { // a copy (4)
	r := begin(b, "TDFSLOG1")
	kind, number, domain, device, incarnation, count, log := r.u(4), r.s(4), r.s(16), r.u(8), r.u(8), r.u(8), r.take(32)
	r.checksum(b)
	keys, name := epochKeys[domain+number], fmt.Sprintf("/%08x-%016x-%016x", device, incarnation, count)
	need(strings.HasSuffix(source, name) && keys[1] != nil, "is log %s, of epoch %x", name, domain+number)
	aead := gcm(derive("log key", keys[1], log))
	for n, body, err := uint64(0), []byte{}, error(nil); err == nil && r.Len() > 32; n++ { // up to a torn tail
		size, nonce := r.take(4), r.take(12)
		body, err = aead.Open(nil, nonce, r.Next(int(le.Uint32(size))+16), append(le.AppendUint64(nil, n), size...))
		when(err == nil, func() { record(kind, of(body)) })
	}
}
func record(log uint64, r fields) {
	kind := r.u(1)
	need(log == 1 && (kind > 0 && kind <= 11 || kind >= 128) || log == 2 && (kind == 1 || kind == 2 || kind == 16), "a record of kind %d", kind)
	when(log == 1 && kind == 7, func() { addHead(r.Bytes()) }) // of a catalog (9); what was forgotten since does no harm
	when(log == 2 && kind == 1, func() {                       // of a journal (8)
		epoch, _, score := r.s(16+4), r.take(1+1+1+4+4), r.s(32)
		index[score] = append(index[score], func() ([]byte, string) { return r.Bytes(), epoch })
	})
}

func fragmentFile(b []byte) { // (7)
	for _, at := range []int{0, bytes.LastIndex(b, []byte("TDFSFRG1"))} { // the record stands twice
		try(source, func() {
			r := begin(b[at:], "TDFSFRG1")
			id, k, m, n, s := r.s(32), r.u(1), r.u(1), r.u(2), r.u(4)
			t := of(r.take(44 * n))
			r.checksum(b[at:])
			need(fmt.Sprintf("%x", id) == filepath.Base(source), "the record of arena %x", id)
			need(k > 0 && k+m <= 256 && s > 0 && s%4096 == 0 && k*s <= 17821696, "%d + %d fragments of %d bytes", k, m, s)
			when(arenas[id] == nil, func() { arenas[id] = &arena{id: id, k: k, m: m, s: s, parts: make([][]byte, k+m)} })
			t.list(n, func() {
				i, fragment, name := t.u(4), b[t.u(4):][:t.u(4)], t.s(32)
				when(sum(fragment) == name, func() { arenas[id].parts[i] = fragment })
				try(source, func() { need(sum(fragment) == name, "fragment %d is damaged", i) })
			})
		})
	}
}
func (a *arena) image() []byte { // rebuilt (2.6) and decrypted (2.5)
	if opened != a {
		parts := append([][]byte{}, a.parts...)
		note(fmt.Sprintf("arena %x", a.id), must(reedsolomon.New(int(a.k), int(a.m), reedsolomon.WithCauchyMatrix())).ReconstructData(parts))
		for i := range parts[:a.k] {
			when(parts[i] == nil, func() { parts[i] = make([]byte, a.s) }) // what is made of it does not pass the checks
		}
		opened, cleartext = a, bytes.Join(parts[:a.k], nil)
		ctr(derive("arena key", epochKeys[a.epoch][1], []byte(a.id))).XORKeyStream(cleartext, cleartext)
	}
	return cleartext
}
func (a *arena) open() { // its clumps into the index (6)
	for epoch := range epochKeys { // one of these, or it is another account's or a burnt domain's
		a.epoch, opened = epoch, nil
		if b := a.image(); sum(b[:128]) == string(b[128:160]) {
			r := begin(b[:128], "TDFSARN1")
			_, id, _, count, directory, _, check := r.take(8), r.s(32), r.take(16+4+4), r.u(4), r.u(4), r.take(8+8), r.s(32)
			r = of(b[directory:][:48*count])
			need(id == a.id && sum(r.Bytes()) == check, "header of arena %x, or the directory's checksum", id)
			r.list(count, func() {
				score, _, from, length, _ := r.s(32), r.u(4), r.u(4), r.u(4), r.u(4)
				index[score] = append(index[score], func() ([]byte, string) { return a.image()[from:][:length], epoch })
			})
			return
		}
	}
}
func block(score string, kind byte, size uint64) (plain []byte) { // (5); size 0: not known
	found := false
	for _, p := range index[score] {
		found = found || try(fmt.Sprintf("block %.8x", score), func() {
			clump, epoch := p()
			r := begin(dare(derive("block key", epochKeys[epoch][0], []byte(score)), clump), string([]byte{kind}))
			codec, length, keyed := r.u(3), r.u(4), blake3.New(32, derive("score key", scoreKeys[epoch[:16]], []byte{kind}))
			plain = r.Bytes()
			when(codec == 1, func() { plain = must(unzstd.DecodeAll(plain, nil)) })
			must(keyed.Write(plain))
			need(codec < 2 && uint64(len(plain)) == length && string(keyed.Sum(nil)) == score, "is not what its score names")
		})
	}
	need(found && (size == 0 || uint64(len(plain)) == size), "block %.8x of %d bytes cannot be read", score, size)
	return
}

func table(r fields, depth uint64, do func(key, value []byte)) { // a root or a node's entry (12.3, 12.4) of so many levels of blocks (12.2)
	b, level, key := []byte{}, byte(0), []byte{}
	when(depth == 0, func() { b = r.counted() })
	when(len(b) == 0, func() { b = []byte{1, 0, 0} }) // an empty table
	when(depth > 0, func() {
		score, _, size := r.s(32), r.varint(), r.varint()
		b, level = block(score, map[bool]byte{true: 3, false: 4}[depth == 1], size), byte(depth-1)
	})
	r = begin(b, string([]byte{1, level}))
	r.list(r.varint(), func() {
		next, value := append(append([]byte{}, key[:r.varint()]...), r.counted()...), r.counted()
		need(bytes.Compare(key, next) < 0, "table keys that do not ascend")
		key = next
		when(level == 0, func() { do(next, value) })
		when(level > 0, func() { try(fmt.Sprintf("table from %q", next), func() { table(of(value), depth-1, do) }) })
	}).end()
}
func attributes(r fields) (all [][2]string) { // (13.4)
	value := func(size uint64) (b []byte) {
		when(size == 0, func() { b = r.counted() })
		when(size > 0, func() { b = block(r.s(32), 1, size) })
		return
	}
	r = of(value(r.varint()))
	r.list(r.varint(), func() {
		name, kind, size := r.s(r.varint()), r.u(1), uint64(0)
		when(kind > 0, func() { size = r.varint() })
		all = append(all, [2]string{name, string(value(size))})
	}).end()
	return
}
func content(r fields, emit func(length uint64, data []byte)) (size uint64) { // (13.2); data nil: a hole
	size, kind := r.varint(), r.u(1)&15
	when(kind == 0, func() { emit(size, r.take(size)) })
	when(kind == 1, func() { extents(r.counted(), 0, emit) })
	when(kind == 2, func() {
		depth, score, bytes := byte(r.u(1)), r.s(32), r.varint()
		extents(block(score, 2, bytes), depth-1, emit)
	})
	return size
}
func extents(b []byte, level byte, emit func(length uint64, data []byte)) { // (13.3)
	r := begin(b, string([]byte{1, level}))
	r.list(r.varint(), func() {
		length, kind, skip := r.varint(), uint64(4), uint64(0)
		when(level == 0, func() { length, kind = length>>2, length&3 })
		size := length
		when(kind == 2, func() { skip = r.varint() })
		when(kind == 2 || kind == 4, func() { size = r.varint() })
		when(kind == 0, func() { emit(length, nil) })
		when(kind == 1 || kind == 2, func() { emit(length, block(r.s(32), 1, size)[skip:][:length]) })
		when(kind == 4, func() { extents(block(r.s(32), 2, size), level-1, emit) })
	}).end()
}

func (h head) restore(output string) { // the snapshots of a volume root (14.1)
	r := begin(block(h.root, 5, 0), "\x01"+h.volume)
	_, _, _, _, _, _ = r.counted(), r.varint(), r.take(8), r.varint(), r.signed(), r.take(32)
	r.list(r.varint(), func() { _, _, _ = r.varint(), r.take(8), r.varint() }) // heads seen
	_, _, _, _, _ = r.u(1), r.varint(), r.u(1), r.varint(), r.varint()
	r.list(r.varint(), func() { _, _ = r.varint(), r.varint() }) // devices
	r.counted()                                                  // the active tree
	table(r, r.u(1), func(_, _ []byte) {})                       // and its links
	name := strings.NewReplacer("%", "%25", "/", "%2F", "..", "%2E%2E").Replace(h.name)
	table(r, r.u(1), func(key, value []byte) {
		restored[h.volume+string(key)]++ // heads that parted have snapshots in common
		restore := func() { snapshot(output+"/"+name, key, value) }
		when(restored[h.volume+string(key)] == 1, func() { try(fmt.Sprintf("%s, %x", name, key), restore) })
	})
	r.end()
}
func snapshot(output string, key, value []byte) { // (14.2)
	r := begin(value, "\x01")
	flags, target, host, program := r.u(1), fmt.Sprintf("%s/%d", output, r.varint()), r.counted(), r.counted()
	r.list(r.varint(), func() { r.counted() }).list(r.varint(), func() { r.counted() }) // labels, sources
	note(target, fmt.Sprintf("flags %d, by %q on %q, %d torn, %d vanished, %d unreadable", flags, program, host, r.varint(), r.varint(), r.varint()))
	entry := r.counted()
	links, made = map[uint64][]byte{}, map[uint64]string{}
	table(r, r.u(1), func(id, record []byte) { links[binary.BigEndian.Uint64(id)] = record }) // (13.5)
	r.end()
	_, err := os.Lstat(target)
	when(err == nil, func() { target += fmt.Sprintf("-%x", key[8:]) }) // lines that parted give a number twice
	check(os.MkdirAll(output, 0755))
	restore(target, entry)
}

func restore(target string, entry []byte) { // (13.1)
	r, xattrs, device := begin(entry, "\x01"), [][2]string{}, uint64(0)
	kind, flags, id := r.u(1), r.varint(), r.varint()
	if flags == 1 { // a link: its record says the rest, and is none in turn
		need(len(links[id]) > 2 && links[id][1] == byte(kind) && kind != 2 && links[id][2]&1 == 0, "a link to file %x", id)
		restore(target, links[id])
		when(made[id] != "", func() { need(os.Remove(target) == nil && os.Link(made[id], target) == nil, "no link of %s", made[id]) })
		made[id] = target
		return
	}
	need(kind >= 1 && kind <= 7 && flags < 64 && flags&1 == 0, "entry of type %d, flags %d", kind, flags)
	mode, uid, gid, seconds, nano := r.varint(), r.varint(), r.varint(), r.signed(), r.varint()
	when(flags&16 != 0, func() { r.varint() })                     // the source's link count
	when(flags&8 != 0, func() { _, _ = r.counted(), r.counted() }) // names of owner and group: this reader goes by the numbers
	when(flags&4 != 0, func() { xattrs = attributes(r) })
	when(flags&32 != 0, func() { r.u(1) }) // survive
	when(kind == 1, func() { file(r, target) })
	when(kind == 2, func() {
		check(os.Mkdir(target, 0700))
		table(r, r.u(1), func(key, value []byte) {
			name := string(key)
			need(name == filepath.Base(name) && name != "." && name != "..", "%q is no name", name)
			try(target+"/"+name, func() { restore(target+"/"+name, value) })
		})
		_, _, _ = r.varint(), r.varint(), r.varint() // what lies below, counted
	})
	when(kind == 3, func() { note(target, os.Symlink(string(r.counted()), target)) })
	when(kind == 5 || kind == 6, func() { device = unix.Mkdev(uint32(r.varint()), uint32(r.varint())) })
	format := []uint32{4: unix.S_IFIFO, 5: unix.S_IFCHR, 6: unix.S_IFBLK, 7: unix.S_IFSOCK}
	when(kind > 3, func() { note(target, unix.Mknod(target, format[kind], int(device))) })
	r.end()
	visit(target, entry)
	when(os.Lchown(target, int(uid), int(gid)) != nil, func() { mode &= 01777 }) // by the numbers, where one may
	for _, x := range xattrs {
		note(target+", "+x[0], unix.Lsetxattr(target, x[0], []byte(x[1]), 0))
	}
	when(kind != 3, func() { note(target, unix.Chmod(target, uint32(mode))) })
	time := unix.Timespec{Sec: seconds, Nsec: int64(nano)}
	note(target, unix.UtimesNanoAt(unix.AT_FDCWD, target, []unix.Timespec{time, time}, unix.AT_SYMLINK_NOFOLLOW))
}
func file(r fields, target string) {
	f, at := must(os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0600)), uint64(0)
	defer f.Close()
	size := content(r, func(length uint64, data []byte) {
		must(f.WriteAt(data, int64(at)))
		at += length
	})
	need(at == size, "%d bytes, expected %d", at, size)
	check(f.Truncate(int64(size)))
}

func main() {
	try("reader", func() {
		need(len(os.Args) > 3, "expected WORDS-FILE HOLDER... OUTPUT, or KEYRING-FILE HOLDER... OUTPUT <PASSPHRASE")
		keys, holders, output := must(os.ReadFile(os.Args[1])), os.Args[2:len(os.Args)-1], os.Args[len(os.Args)-1]
		when(bytes.HasPrefix(keys, []byte("TDFSKEY")), func() { fromKeyring(keys) })
		when(account == nil, func() { fromWords(keys) })
		uses := []func([]byte){keysObject, recordLog, recordLog, fragmentFile}
		for i, pattern := range []string{"objects/keys/" + tag + "-*", "objects/catalog/*", "objects/journal/*", "fragments/*/*"} { // (11.1)
			for _, holder := range holders {
				for _, source = range must(filepath.Glob(filepath.Join(holder, pattern))) {
					try(source, func() {
						f := must(os.Open(source))
						defer f.Close()
						uses[i](must(unix.Mmap(int(f.Fd()), 0, int(must(f.Stat()).Size()), unix.PROT_READ, unix.MAP_PRIVATE)))
					})
				}
			}
		}
		for id, a := range arenas {
			try(fmt.Sprintf("arena %x", id), a.open)
		}
		for _, h := range heads {
			current := true
			for _, o := range heads {
				current = current && (o.volume != h.volume || o.seen[h.line] < h.sequence && (o.line != h.line || o.sequence <= h.sequence))
			}
			when(current, func() { try("volume "+h.name, func() { h.restore(output) }) })
		}
		need(len(heads) > 0, "found no volume")
	})
	os.Exit(map[bool]int{true: 1}[damaged])
}
