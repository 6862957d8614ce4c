package main

// The bytes of docs/format.md, up to a volume's snapshots; numbers in brackets are its sections.

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/reedsolomon"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	"lukechampine.com/blake3"
)

type (
	place struct { // where a clump stands
		clump func() []byte
		epoch string // domain and number, as they stand in an arena's header
	}
	arena struct {
		id, epoch                 string
		k, m, s, count, directory uint64   // count and directory: 0 until known
		names                     []string // of its fragments; "": not known
		key                       []byte
		found                     bool
	}
	head struct { // (10)
		volume, line, root, name string // line: device and incarnation
		seq                      uint64
		seen                     map[string]uint64 // by line
		time                     int64
		in                       map[string]bool // the files that hold it
	}
)

var (
	//go:embed english.txt
	english             string // BIP-39's list
	account             ed25519.PublicKey
	tag                 string
	anchorKey, recovery []byte
	devices             = map[uint64][]ed25519.PublicKey{}
	scoreKeys           = map[string][]byte{} // by domain
	blockKeys           = map[string][]byte{} // by epoch
	arenaKeys           = map[string][]byte{}
	arenas, fragments   = map[string]*arena{}, map[string][]byte{}
	index, heads        = map[string][]place{}, map[string]head{} // heads by their bytes
	roots               []string                                  // scores of blocks of type 5
	problems            []string
	source              string                  // the file that is read
	copies              = map[string][][]byte{} // of logs, as far as they are valid
	parted              = map[string]bool{}     // lines of which two folders wrote (4)
	unzstd              = must(zstd.NewReader(nil, zstd.WithDecoderMaxMemory(8<<20), zstd.WithDecoderConcurrency(1)))
	imageOf             *arena // the arena read last, and its image in clear
	image               []byte
)

func problem(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }

func need(ok bool, format string, a ...any) {
	if !ok {
		panic(fmt.Sprintf(format, a...))
	}
}

func when(condition bool, do func()) {
	if condition {
		do()
	}
}

func check(err error) { need(err == nil, "%v", err) }

func must[T any](v T, err error) T { check(err); return v }

func try(what string, do func()) (ok bool) { // damage is listed, and reading goes on
	defer func() {
		if e := recover(); e != nil {
			problem("%s: %v", what, e)
		}
	}()
	do()
	return true
}

type rd struct{ b []byte } // (1, 12.1)

func (r *rd) take(n uint64) []byte {
	need(uint64(len(r.b)) >= n, "cut short: %d bytes of %d", len(r.b), n)
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

func (r *rd) u(n uint64) uint64 {
	return binary.LittleEndian.Uint64(append(r.take(n), make([]byte, 8)...))
}
func (r *rd) s(n uint64) string { return string(r.take(n)) }
func (r *rd) short() string     { return r.s(r.u(1)) }
func (r *rd) any() uint64       { return r.varint(1<<64 - 1) }
func (r *rd) signed() int64     { v := r.any(); return int64(v>>1) ^ -int64(v&1) }
func (r *rd) end()              { need(len(r.b) == 0, "%d bytes too many", len(r.b)) }

func (r *rd) counted(limit uint64) []byte { return r.take(r.varint(limit)) }
func (r *rd) is(n, v uint64, what string) {
	x := r.u(n)
	need(x == v, "%s %d, expected %d", what, x, v)
}
func (r *rd) magic(m string) { x := r.s(8); need(x == m, "magic %q, expected %q", x, m) }
func (r *rd) list(n uint64, item func()) {
	need(n < 1<<20, "%d items", n)
	for ; n > 0; n-- {
		item()
	}
}
func (r *rd) strings(limit uint64, use func([]byte)) { // (11)
	r.list(r.u(2), func() { n := r.u(4); need(n <= limit, "string of %d bytes", n); use(r.take(n)) })
}

func (r *rd) varint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	need(n > 0 && (n == 1 || r.b[n-1] != 0) && v <= limit, "varint %d, at most %d", v, limit)
	r.b = r.b[n:]
	return v
}

func sum(b []byte) string { h := blake3.Sum256(b); return string(h[:]) }

func derive(context string, parts ...[]byte) []byte { // (3)
	key := make([]byte, 32)
	blake3.DeriveKey(key, "tdfs 2026-11 "+context+" v1", bytes.Join(parts, nil))
	return key
}

func gcm(key []byte) cipher.AEAD { return must(cipher.NewGCM(must(aes.NewCipher(key)))) }

func dare(key, m []byte) (plain []byte) { // (2.4)
	for number, last, first := uint32(0), false, m; !last; number++ {
		need(len(m) >= 33, "DARE: cut short")
		n := int(binary.LittleEndian.Uint16(m[2:])) + 33
		last = len(m) == n
		need(m[0] == 0x20 && m[1] == first[1] && m[1] < 2 && (last || n == 65568 && len(m) > n), "DARE: header of package %d", number)
		need(last == (m[4] > 127) && m[4]&127 == first[4]&127 && bytes.Equal(m[5:16], first[5:16]), "DARE: nonce of package %d", number)
		nonce := append([]byte{}, m[4:16]...)
		binary.LittleEndian.PutUint32(nonce[8:], binary.LittleEndian.Uint32(nonce[8:])^number)
		aead := []cipher.AEAD{gcm(key), must(chacha20poly1305.New(key))}[m[1]]
		plain = must(aead.Open(plain, nonce, m[16:n], m[:4]))
		m = m[n:]
	}
	return
}

func fromWords(text string) { // (3.1)
	words, list, bits := strings.Fields(text), strings.Fields(english), make([]byte, 33)
	need(len(words) == 24, "%d words, expected 24", len(words))
	for i, w := range words {
		n := sort.SearchStrings(list, w)
		need(n < len(list) && list[n] == w, "%q is not a word of the list", w)
		for b := 0; b < 11; b++ {
			bits[(i*11+b)/8] |= byte(n>>(10-b)&1) << (7 - (i*11+b)%8)
		}
	}
	need(sha256.Sum256(bits[:32])[0] == bits[32], "the words' checksum does not fit")
	account = ed25519.NewKeyFromSeed(derive("account signing key", bits[:32])).Public().(ed25519.PublicKey)
	recovery, anchorKey = derive("account recovery key", bits[:32]), derive("account anchor key", bits[:32])
	tag = hex.EncodeToString(derive("account tag", bits[:32])[:16])
}

func fromKeyring(b, passphrase []byte) { // (3.4)
	r := &rd{b}
	r.magic("TDFSKEY1")
	mode, passes, memory, salt := r.u(4), r.u(4), r.u(4), r.take(16)
	message, unlock := r.take(r.u(4)), make([]byte, 32)
	need(sum(b[:len(b)-len(r.b)]) == r.s(32) && mode < 2 && passes <= 16 && memory <= 1<<20, "the keyring is damaged")
	if mode == 1 {
		unlock = argon2.IDKey(passphrase, salt, uint32(passes), uint32(memory), 1, 32)
	}
	r = &rd{dare(derive("keyring", unlock, b[:36]), message)}
	account, _, tag, anchorKey, _, _ = r.take(32), r.take(32), hex.EncodeToString(r.take(16)), r.take(32), r.take(4+32+32+32), r.short()
	certificate(r.take(r.u(2)))
	r.list(r.u(4), func() { addDomain(r.take(r.u(4))) })
	r.end()
}

func certificate(b []byte) { // (3.1)
	r := &rd{b}
	r.magic("TDFSCRT1")
	need(r.s(32) == string(account), "certificate of another account")
	device, key, _, _ := r.u(4), r.take(32), r.take(32+8), r.short()
	need(ed25519.Verify(account, b[:len(b)-len(r.b)], r.take(64)), "certificate of device %d: signature", device)
	r.end()
	devices[device] = append(devices[device], key)
}

func addDomain(b []byte) { // (3.2)
	r := &rd{b}
	r.is(1, 1, "version of a key domain")
	_, id := r.take(3), r.s(16)
	scoreKeys[id], _ = r.take(32), r.take(32)
	r.list(r.u(4), func() { epoch := id + r.s(4); blockKeys[epoch], arenaKeys[epoch] = r.take(32), r.take(32) })
	r.end()
}

func unwrap(w []byte) { // (3.3)
	r := &rd{w}
	r.magic("TDFSWRP1")
	if recovery != nil { // a keyring has the domains themselves
		ephemeral, public := r.take(32), must(curve25519.X25519(recovery, curve25519.Basepoint))
		addDomain(dare(derive("key wrap", must(curve25519.X25519(recovery, ephemeral)), ephemeral, public), r.b))
	}
}

func signed(device uint64, signature []byte, parts ...[]byte) (by bool) {
	for _, key := range devices[device] {
		by = by || ed25519.Verify(key, bytes.Join(parts, nil), signature)
	}
	return
}

func addHead(b []byte) { // (10)
	r := &rd{b}
	r.is(1, 1, "version of a head")
	h := head{volume: r.s(16), seen: map[string]uint64{}}
	_, h.line, h.seq, h.time, h.root, _, h.name = r.take(16), r.s(4+8), r.u(8), int64(r.u(8)), r.s(32), r.take(32), r.short()
	r.list(r.u(1), func() { line := r.s(4 + 8); h.seen[line] = r.u(8) })
	r.take(64)
	r.end()
	when(heads[string(b)].in == nil, func() { h.in = map[string]bool{}; heads[string(b)] = h })
	heads[string(b)].in[source] = true
}

func vouched(b string, h head) bool { // zeros: by what holds it
	body, signature := []byte(b[:len(b)-64]), []byte(b[len(b)-64:])
	return string(signature) == string(make([]byte, 64)) || signed((&rd{[]byte(h.line)}).u(4), signature, []byte("TDFS head v1"), body)
}

func envelope(b []byte, magic, context string) (r *rd, verify func(device uint64)) { // (11)
	r = &rd{b}
	r.magic(magic)
	need(hex.EncodeToString(r.take(16)) == tag, "another account's")
	r.take(8)
	body := must(gcm(anchorKey).Open(nil, r.take(12), r.b, b[:32]))
	end := len(body) - 64
	return &rd{body[:end]}, func(device uint64) {
		need(signed(device, body[end:], []byte(context), b[:32], body[:end]), "signature")
	}
}

func anchor(b []byte) { // (11)
	r, verify := envelope(b, "TDFSANC1", "TDFS anchor v1")
	need(r.s(32) == string(account), "another account's")
	device, _ := r.u(4), r.u(8)
	r.strings(4096, certificate)
	verify(device)
	r.strings(1<<20, unwrap)
	r.list(r.u(2), func() { r.take(16); r.short(); r.short() }) // holders
	r.strings(4096, addHead)
	r.take(r.u(2) * (1 + 4 + 8 + 8 + 32 + 8)) // logs
	r.end()
}

func keysObject(b []byte) { // (11)
	r, verify := envelope(b, "TDFSDOM1", "TDFS keys v1")
	r.strings(4096, func(c []byte) { certificate(c); verify((&rd{c[40:]}).u(4)) })
	r.strings(1<<20, unwrap)
	r.end()
}

func recordLog(path string, b []byte, kind uint64, use func(*rd)) { // (4)
	r := &rd{b}
	r.magic("TDFSLOG1")
	r.is(4, kind, "kind of log")
	epoch, id, name, log := r.s(4), r.s(16), fmt.Sprintf("%08x-%016x-%016x", r.u(8), r.u(8), r.u(8)), r.take(32)
	need(name == filepath.Base(path), "the log %s", name)
	need(sum(b[:len(b)-len(r.b)]) == r.s(32), "log header's checksum")
	need(arenaKeys[id+epoch] != nil, "no key of epoch %x", id+epoch)
	aead := gcm(derive("log key", arenaKeys[id+epoch], log))
	valid := b[:len(b)-len(r.b)]
	for number := uint64(0); len(r.b) > 32; number++ {
		x := r.take(4)
		size := (&rd{x}).u(4)
		if size < 1 || size > 2<<20 || uint64(len(r.b)) < size+28 {
			break
		}
		body, err := aead.Open(nil, r.take(12), r.take(size+16), append(binary.LittleEndian.AppendUint64(nil, number), x...))
		if err != nil {
			break // a torn tail
		}
		use(&rd{body})
		valid = b[:len(b)-len(r.b)]
	}
	for _, c := range copies[name] {
		when(!bytes.HasPrefix(c, valid) && !bytes.HasPrefix(valid, c), func() { parted[string(b[32:36])+string(b[40:48])] = true })
	}
	copies[name] = append(copies[name], valid)
}

func journal(r *rd) { // (8)
	kind := r.u(1)
	need(kind == 1 || kind == 2, "journal record of kind %d", kind)
	when(kind == 1, func() {
		epoch, kind, _, score := r.s(16+4), r.u(3)>>8, r.take(4+4), r.s(32)
		index[score] = append(index[score], place{func() []byte { return r.b }, epoch})
		when(kind == 5, func() { roots = append(roots, score) })
	})
}

func catalog(r *rd) { // (9); what was forgotten since does no harm
	kind := r.u(1)
	need(kind >= 1 && kind <= 10 || kind >= 128, "catalog record of kind %d", kind)
	when(kind == 7, func() { addHead(r.b) })
	when(kind == 10, func() { certificate(r.b) })
	when(kind == 5, func() {
		_, a := r.take(4+1+1), &arena{k: r.u(1), m: r.u(1), id: r.s(32), epoch: r.s(16 + 4)}
		_, a.s, a.count, a.directory, _ = r.u(4), r.u(4), r.u(4), r.u(4), r.take(8+8+4)
		r.list(a.k+a.m, func() { a.names = append(a.names, r.s(32 + 2)[:32]) })
		r.end()
		arenas[a.id] = a
	})
}

func fragmentRecord(b []byte) (a *arena, n uint64) { // (7)
	if r := (&rd{b}); len(b) >= 80 && r.s(8) == "TDFSFRG1" {
		x := &arena{id: r.s(32), k: r.u(1), m: r.u(1)}
		n, x.s = r.u(2), r.u(4)
		if size := 48 + 44*n; uint64(len(b)) >= size+32 && sum(b[:size]) == string(b[size:size+32]) {
			need(x.k > 0 && x.k+x.m <= 256 && n <= x.k+x.m && x.s > 0 && x.s%4096 == 0 && x.k*x.s <= 17821696, "fragment record's numbers")
			a, x.names = x, make([]string, x.k+x.m)
			r.list(n, func() { i := r.u(4); need(i < x.k+x.m, "fragment %d", i); x.names[i] = r.s(8 + 32)[8:] })
		}
	}
	return
}

func fragmentFile(path string, b []byte) { // (7)
	a, n := fragmentRecord(b)
	for at := len(b) &^ 4095; at > 0 && a == nil; at -= 4096 {
		a, n = fragmentRecord(b[at:])
	}
	id := string(must(hex.DecodeString(filepath.Base(path))))
	known := arenas[id]
	need(a != nil || known != nil, "both records are lost, and no catalog knows it")
	recordBytes := func() uint64 { return (80 + 44*n + 32*n*((a.s+16383)/16384) + 4095) &^ 4095 }
	if a == nil { // then the file's size tells n
		problem("%s: both records are lost", path)
		for a, n = known, 1; n < a.k+a.m && 2*recordBytes()+n*a.s < uint64(len(b)); {
			n++
		}
	}
	need(a.id == id, "the file of arena %x", a.id)
	when(known == nil, func() { known, arenas[id] = a, a })
	known.found = true
	for i, name := range a.names {
		when(known.names[i] == "", func() { known.names[i] = name })
	}
	names := strings.Join(a.names, "")
	for at := recordBytes(); n > 0; n, at = n-1, at+a.s {
		need(at+a.s <= uint64(len(b)), "cut short")
		name := sum(b[at : at+a.s])
		fragments[name] = b[at : at+a.s]
		when(!strings.Contains(names, name), func() { problem("%s: the fragment at %d is damaged", path, at) })
	}
}

func ctr(key, b []byte) []byte { // (2.5)
	clear := make([]byte, len(b))
	cipher.NewCTR(must(aes.NewCipher(key)), make([]byte, 16)).XORKeyStream(clear, b)
	return clear
}

func (a *arena) read() []byte { // the image in clear (2.6); noise where it is lost: what is made of it does not pass the checks
	if imageOf == a {
		return image
	}
	parts, good := make([][]byte, a.k+a.m), uint64(0)
	for i, name := range a.names {
		parts[i] = fragments[name]
		when(parts[i] != nil, func() { good++ })
	}
	when(good >= a.k && a.m > 0, func() {
		check(must(reedsolomon.New(int(a.k), int(a.m), reedsolomon.WithCauchyMatrix())).ReconstructData(parts))
	})
	for i, p := range parts[:a.k] {
		when(p == nil, func() { parts[i] = make([]byte, a.s) })
		need(p == nil || a.names[i] == "" || sum(p) == a.names[i], "arena %x: data fragment %d comes out as another", a.id, i)
	}
	imageOf, image = a, bytes.Join(parts[:a.k], nil)
	when(a.key != nil, func() { image = ctr(a.key, image) })
	when(good < a.k && a.key == nil, func() { problem("arena %x: %d fragments of %d+%d are left", a.id, good, a.k, a.m) })
	return image
}

func (a *arena) open() { // its clumps into the index (6)
	first, sumOf := a.read()[:160], ""
	for epoch, base := range arenaKeys {
		key := derive("arena key", base, []byte(a.id))
		if h := ctr(key, first); string(h[:8]) == "TDFSARN1" && sum(h[:128]) == string(h[128:]) {
			r := &rd{h[8:]}
			need(r.u(1) == a.k && r.u(1) == a.m && r.u(2) < 256 && r.u(4) == a.s && r.s(32) == a.id && r.s(16+4) == epoch, "header of another arena")
			_, a.count, a.directory, _, sumOf = r.u(4), r.u(4), r.u(4), r.take(16), r.s(32)
			a.key, a.epoch = key, epoch
		}
	}
	if a.key == nil { // then by the catalog's word; otherwise it is another account's or a burnt domain's
		if a.count == 0 || arenaKeys[a.epoch] == nil {
			return
		}
		a.key = derive("arena key", arenaKeys[a.epoch], []byte(a.id))
	}
	image = ctr(a.key, image)
	need(a.directory+48*a.count <= a.k*a.s, "arena %x: directory at %d", a.id, a.directory)
	r := &rd{image[a.directory : a.directory+48*a.count]}
	need(sumOf == "" || sumOf == sum(r.b), "arena %x: directory's checksum", a.id)
	r.list(a.count, func() {
		score, kind, from, length, _ := r.s(32), r.u(4), r.u(4), r.u(4), r.u(4)
		clump := func() []byte { return (&rd{a.read()[from:]}).take(length) }
		index[score] = append(index[score], place{clump, a.epoch})
		when(kind == 5, func() { roots = append(roots, score) })
	})
}

func block(score string, kind byte, size uint64) (plain []byte) { // (5); size 0: not known
	for _, p := range index[score] {
		if try(fmt.Sprintf("block %x", score[:8]), func() {
			need(blockKeys[p.epoch] != nil, "no key of epoch %x", p.epoch)
			r := &rd{dare(derive("block key", blockKeys[p.epoch], []byte(score)), p.clump())}
			r.is(1, uint64(kind), "type of block")
			codec, length := r.u(3), r.u(4)
			plain = r.b
			when(codec == 1, func() { plain = must(unzstd.DecodeAll(r.b, nil)) })
			h := blake3.New(32, derive("score key", scoreKeys[p.epoch[:16]], []byte{kind}))
			h.Write(plain)
			need(codec < 2 && uint64(len(plain)) == length && string(h.Sum(nil)) == score, "not what its score names")
		}) {
			need(size == 0 || uint64(len(plain)) == size, "block %x of %d bytes, expected %d", score[:8], len(plain), size)
			return
		}
	}
	need(false, "block %x cannot be read", score[:8])
	return
}

type each func(key, value []byte)

func table(r *rd, do each) { // (12.4)
	if depth := r.u(1); depth > 0 {
		need(depth <= 16, "table of depth %d", depth)
		tableChild(r, depth-1, nil, do)
	} else if leaf := r.counted(16384); len(leaf) > 0 {
		tableBlock(leaf, 0, do)
	}
}

func tableChild(r *rd, level uint64, expected []byte, do each) uint64 { // (12.3)
	score, entries, size, kind := r.s(32), r.any(), r.varint(1<<20), byte(3)
	when(level > 0, func() { kind = 4 })
	n, first := tableBlock(block(score, kind, size), level, do)
	need(n == entries && (expected == nil || bytes.Equal(first, expected)), "table block %x holds %d entries from %q", score[:8], n, first)
	return n
}

func tableBlock(b []byte, level uint64, do each) (entries uint64, first []byte) { // (12.2)
	r, key := &rd{b}, []byte{}
	r.is(2, level<<8|1, "version and level of a table block")
	r.list(r.varint(1<<20), func() {
		next := append(append([]byte{}, key[:r.varint(uint64(len(key)))]...), r.counted(512)...)
		need(bytes.Compare(key, next) < 0, "table keys that do not ascend")
		key = next
		when(first == nil, func() { first = key })
		if value := r.counted(32768); level == 0 {
			do(key, value)
			entries++
		} else {
			try(fmt.Sprintf("table from %q", key), func() { entries += tableChild(&rd{value}, level-1, next, do) })
		}
	})
	r.end()
	return
}

func attributes(r *rd) (all [][2]string) { // (13.4)
	value := func(inline bool, limit, size uint64) []byte {
		if inline {
			return r.counted(limit)
		}
		return block(r.s(32), 1, size)
	}
	size := r.varint(1 << 20)
	r = &rd{value(size == 0, 4096, size)}
	r.list(r.varint(16384), func() {
		name, kind, size := string(r.counted(255)), r.u(1), uint64(0)
		when(kind > 0, func() { size = r.varint(1 << 20) })
		all = append(all, [2]string{name, string(value(kind == 0, 65536, size))})
	})
	r.end()
	return
}

type sink func(size uint64, data []byte) // data nil: a hole

func content(r *rd, emit sink) (size uint64) { // (13.2)
	size = r.any()
	kind, total := r.u(1)&15, size
	if need(kind <= 2, "content of kind %d", kind); kind == 0 {
		emit(size, r.take(size))
	} else if kind == 1 {
		total = extents(r.counted(1024), 0, emit)
	} else {
		depth, score := r.u(1), r.s(32)
		need(depth >= 1 && depth <= 8, "content of depth %d", depth)
		total = extents(block(score, 2, r.varint(1<<20)), depth-1, emit)
	}
	need(total == size, "extents of %d bytes, expected %d", total, size)
	return
}

func extents(b []byte, level uint64, emit sink) (total uint64) { // (13.3)
	r := &rd{b}
	r.is(2, level<<8|1, "version and level of extents")
	r.list(r.varint(1<<20), func() {
		length := r.any()
		kind, skip, size := length&3, uint64(0), length>>2
		if level > 0 {
			size = r.varint(1 << 20)
			below := extents(block(r.s(32), 2, size), level-1, emit)
			need(below == length, "extents of %d bytes, expected %d", below, length)
		} else if length >>= 2; kind == 0 {
			emit(length, nil)
		} else {
			if need(kind < 3, "extent of kind 3"); kind == 2 {
				skip, size = r.varint(1<<20), r.varint(1<<20)
			}
			need(skip+length <= size, "a piece outside its block")
			emit(length, block(r.s(32), 1, size)[skip:skip+length])
		}
		total += length
	})
	r.end()
	return
}

func linkTable(r *rd) map[uint64][]byte { // (13.5)
	links := map[uint64][]byte{}
	table(r, func(key, value []byte) { links[binary.BigEndian.Uint64(key)] = value })
	return links
}

func volumeRoot(score string, b []byte) (h head, r *rd) { // (14.1)
	r = &rd{b}
	r.is(1, 1, "version of a volume root")
	h = head{volume: r.s(16), root: score, name: string(r.counted(255)), seen: map[string]uint64{}}
	line := func() string {
		return string(binary.LittleEndian.AppendUint32(nil, uint32(r.varint(1<<32-1)))) + r.s(8)
	}
	h.line, h.seq, h.time, _ = line(), r.any(), r.signed(), r.take(32)
	r.list(r.varint(128), func() { l := line(); h.seen[l] = r.any() })
	return h, r
}

func (h head) snapshots(into map[string][]byte) {
	root, r := volumeRoot(h.root, block(h.root, 5, 0))
	need(root.volume == h.volume, "root of another volume")
	r.u(1)
	r.varint(65535)
	r.u(1)
	_, _ = r.any(), r.any()
	r.list(r.varint(4096), func() { r.varint(1<<24 - 1); r.varint(1<<40 - 1) })
	r.counted(32768)
	linkTable(r)
	table(r, func(key, value []byte) { into[string(key)] = value })
	r.end()
}
