using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Interop;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

/// <summary>The primitives against published vectors: libsodium's and .NET's, as the store calls them.</summary>
public sealed class SodiumVectorTests
{
    [Fact]
    public void RFC_7748_5_2()
    {
        string[] lines = File.ReadAllLines(Repository.Vector("rfc/rfc7748.txt"));
        byte[] Field(string line) => Convert.FromHexString(line.Split('=')[1].Trim());
        int count = 0;
        for (int i = 0; i < lines.Length; i++)
        {
            // COUNT 3 begins the iterated test; one step of it is a plain multiplication, too.
            if (lines[i].StartsWith("INPUT_SCALAR", StringComparison.Ordinal))
            {
                byte[] shared = new byte[32];
                Assert.True(X25519.TryAgree(Field(lines[i]), Field(lines[i + 1]), shared));
                Assert.Equal(Field(lines[i + 2]), shared);
                count++;
            }
        }

        Assert.True(count >= 3, $"{count} vectors");
    }

    [Fact]
    public void Both_sides_agree_on_one_secret()
    {
        byte[] alice = new byte[32], bob = new byte[32], alicePublic = new byte[32], bobPublic = new byte[32], one = new byte[32], two = new byte[32];
        new SeededRandom(1).Fill(alice);
        new SeededRandom(2).Fill(bob);
        X25519.PublicKey(alice, alicePublic);
        X25519.PublicKey(bob, bobPublic);
        Assert.True(X25519.TryAgree(alice, bobPublic, one));
        Assert.True(X25519.TryAgree(bob, alicePublic, two));
        Assert.Equal(one, two);
    }

    [Fact]
    public void X25519_of_wycheproof()
    {
        int count = 0;
        foreach ((JsonElement _, JsonElement test) in Wycheproof("x25519"))
        {
            byte[] shared = new byte[32], expected = Bytes(test, "shared");
            bool agreed = X25519.TryAgree(Bytes(test, "private"), Bytes(test, "public"), shared);
            Assert.Equal(expected, shared);
            Assert.Equal(expected.AsSpan().ContainsAnyExcept((byte)0), agreed);
            count++;
        }

        Assert.True(count > 500, $"{count} vectors");
    }

    [Fact]
    public void Ed25519_reference_list_which_begins_with_RFC_8032_7_1_test_1()
    {
        int count = 0;
        foreach (string line in File.ReadAllLines(Repository.Vector("rfc/ed25519-sign-input-first200.txt")))
        {
            string[] fields = line.Split(':');
            byte[] seed = Convert.FromHexString(fields[0])[..32], publicKey = Convert.FromHexString(fields[1]), message = Convert.FromHexString(fields[2]);
            byte[] key = new byte[32], signature = new byte[64];
            Ed25519.PublicKey(seed, key);
            Ed25519.Sign(seed, message, signature);
            Assert.Equal(publicKey, key);
            Assert.Equal(Convert.FromHexString(fields[3])[..64], signature);
            Assert.True(Ed25519.Verify(key, message, signature));
            signature[count % 64] ^= 1;
            Assert.False(Ed25519.Verify(key, message, signature));
            count++;
        }

        Assert.Equal(200, count);
    }

    [Fact]
    public void Ed25519_of_wycheproof()
    {
        int count = 0;
        foreach ((JsonElement group, JsonElement test) in Wycheproof("ed25519"))
        {
            byte[] publicKey = Bytes(group.GetProperty("publicKey"), "pk");
            bool verified = Ed25519.Verify(publicKey, Bytes(test, "msg"), Bytes(test, "sig"));
            Assert.True(verified == IsValid(test), $"tcId {test.GetProperty("tcId")}: {test.GetProperty("comment")}");
            count++;
        }

        Assert.True(count > 140, $"{count} vectors");
    }

    [Theory]
    [InlineData("aes_gcm", DareSuite.Aes256Gcm, true)]
    [InlineData("aes_gcm", DareSuite.Aes256Gcm, false)]
    [InlineData("chacha20_poly1305", DareSuite.ChaCha20Poly1305, true)]
    [InlineData("chacha20_poly1305", DareSuite.ChaCha20Poly1305, false)]
    public void Aeads_of_wycheproof(string file, DareSuite suite, bool native)
    {
        Assert.SkipWhen(native && !Evp.IsAvailable, "libcrypto 3 is not here; the .NET classes serve.");
        PackageCipher cipher = PackageCipher.Create(suite, native);
        int count = 0;
        foreach ((JsonElement group, JsonElement test) in Wycheproof(file))
        {
            if (group.GetProperty("ivSize").GetInt32() != 96 || group.GetProperty("keySize").GetInt32() != 256 || group.GetProperty("tagSize").GetInt32() != 128)
            {
                continue;
            }

            byte[] message = Bytes(test, "msg"), plain = new byte[message.Length];
            byte[] key = Bytes(test, "key"), nonce = Bytes(test, "iv"), associated = Bytes(test, "aad");
            cipher.Start(key, encrypt: false);
            bool opened = cipher.TryDecrypt(nonce, associated, Bytes(test, "ct"), Bytes(test, "tag"), plain);
            cipher.End();
            Assert.True(opened == IsValid(test), $"tcId {test.GetProperty("tcId")}");
            if (opened)
            {
                Assert.Equal(message, plain);
                byte[] ct = new byte[message.Length], tag = new byte[16];
                cipher.Start(key, encrypt: true);
                cipher.Encrypt(nonce, associated, message, ct, tag);
                cipher.End();
                Assert.Equal(Bytes(test, "ct"), ct);
                Assert.Equal(Bytes(test, "tag"), tag);
            }

            count++;
        }

        Assert.True(count > 60, $"{count} vectors");
    }

    [Fact]
    public void Argon2id_equals_the_reference_command()
    {
        foreach (JsonElement test in Json("argon2/salt16.json").GetProperty("hashes").EnumerateArray())
        {
            byte[] expected = Bytes(test, "hash"), hash = new byte[expected.Length];
            var cost = new Argon2Cost(test.GetProperty("operations").GetUInt32(), test.GetProperty("memoryKiB").GetUInt32());
            Argon2id.Hash(Utf8(test, "password"), Utf8(test, "salt"), cost, hash);
            Assert.Equal(expected, hash);
        }
    }

    /// <summary>Their salts have 8 bytes, which crypto_pwhash does not take; its verifier of encoded hashes does.</summary>
    [Fact]
    public void Argon2id_hash_tests_of_the_reference_verify_in_the_same_library()
    {
        Sodium.Start();
        nint library = NativeLibraries.Resolve(NativeLibraries.Sodium);
        var verify = Marshal.GetDelegateForFunctionPointer<StringVerify>(NativeLibrary.GetExport(library, "crypto_pwhash_str_verify"));
        int count = 0;
        foreach (JsonElement test in Json("argon2/argon2.json").GetProperty("hashtests").EnumerateArray())
        {
            if (test.GetProperty("type").GetString() == "argon2id" && test.GetProperty("m_log2_KiB").GetInt32() < 18)
            {
                byte[] encoded = new byte[128];
                Utf8(test, "encoded").CopyTo(encoded, 0);
                byte[] password = Utf8(test, "password");
                Assert.Equal(0, verify(encoded, password, (ulong)password.Length));
                password[0] ^= 1;
                Assert.NotEqual(0, verify(encoded, password, (ulong)password.Length));
                count++;
            }
        }

        Assert.Equal(7, count);
    }

    [Theory, InlineData(0u, 1024u), InlineData(17u, 1024u), InlineData(1u, 7u), InlineData(1u, 1024u * 1024 + 1), InlineData(uint.MaxValue, uint.MaxValue)]
    public void Costs_beyond_the_bounds_are_refused_before_they_cost_anything(uint operations, uint memoryKiB) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => Argon2id.Hash("x"u8, new byte[16], new Argon2Cost(operations, memoryKiB), new byte[32]));

    [Theory, InlineData(0), InlineData(31), InlineData(33), InlineData(63), InlineData(65)]
    public void Spans_of_another_size_never_reach_the_library(int size)
    {
        byte[] wrong = new byte[size], key = new byte[32], signature = new byte[64];
        Assert.Throws<ArgumentException>("seed", () => Ed25519.PublicKey(wrong, key));
        Assert.Throws<ArgumentException>("publicKey", () => Ed25519.PublicKey(key, wrong));
        Assert.Throws<ArgumentException>("seed", () => Ed25519.Sign(wrong, "x"u8, signature));
        Assert.Throws<ArgumentException>("signature", () => Ed25519.Sign(key, "x"u8, wrong));
        Assert.False(Ed25519.Verify(wrong, "x"u8, signature));
        Assert.False(Ed25519.Verify(key, "x"u8, wrong));
        Assert.Throws<ArgumentException>("privateKey", () => X25519.PublicKey(wrong, key));
        Assert.Throws<ArgumentException>("publicKey", () => X25519.PublicKey(key, wrong));
        Assert.Throws<ArgumentException>("privateKey", () => X25519.TryAgree(wrong, key, signature.AsSpan(32)));
        Assert.Throws<ArgumentException>("publicKey", () => X25519.TryAgree(key, wrong, signature.AsSpan(32)));
        Assert.Throws<ArgumentException>("shared", () => X25519.TryAgree(key, key, wrong));
        Assert.Throws<ArgumentException>("salt", () => Argon2id.Hash("x"u8, wrong, Argon2Cost.Least, key));
    }

    [Fact]
    public void Argon2id_gives_16_bytes_or_more()
    {
        byte[] sixteen = new byte[16];
        Argon2id.Hash("x"u8, new byte[16], Argon2Cost.Least, sixteen);
        Assert.NotEqual(new byte[16], sixteen);
        Assert.Throws<ArgumentException>("salt", () => Argon2id.Hash("x"u8, new byte[16], Argon2Cost.Least, new byte[15]));
    }

    [Fact]
    public void Costs_up_to_the_bounds_are_allowed_and_the_usual_one_is_libsodiums_moderate()
    {
        Assert.True(new Argon2Cost(1, 8).IsAllowed);
        Assert.True(new Argon2Cost(16, 1024 * 1024).IsAllowed);
        Assert.Equal(new Argon2Cost(3, 262_144), Argon2Cost.Moderate);
        Assert.Equal(new Argon2Cost(1, 8), Argon2Cost.Least);
    }

    [Fact]
    public void A_secret_that_nobody_may_agree_on_is_zeroed()
    {
        byte[] shared = new byte[32];
        shared.AsSpan().Fill(0xee);
        Assert.False(X25519.TryAgree([.. Enumerable.Repeat((byte)1, 32)], new byte[32], shared));
        Assert.Equal(new byte[32], shared);
    }

    [Fact]
    public void An_empty_passphrase_is_a_passphrase()
    {
        byte[] one = new byte[32], other = new byte[32];
        Argon2id.Hash([], new byte[16], Argon2Cost.Least, one);
        Argon2id.Hash("x"u8, new byte[16], Argon2Cost.Least, other);
        Assert.NotEqual(one, other);
        Assert.NotEqual(new byte[32], one);
    }

    private static IEnumerable<(JsonElement Group, JsonElement Test)> Wycheproof(string name) =>
        from JsonElement g in Json($"wycheproof/{name}_test.json").GetProperty("testGroups").EnumerateArray()
        from JsonElement t in g.GetProperty("tests").EnumerateArray()
        select (g, t);

    private static JsonElement Json(string path) => JsonDocument.Parse(File.ReadAllText(Repository.Vector(path))).RootElement;

    private static byte[] Bytes(JsonElement element, string name) => Convert.FromHexString(element.GetProperty(name).GetString()!);

    private static byte[] Utf8(JsonElement element, string name) => Encoding.UTF8.GetBytes(element.GetProperty(name).GetString()!);

    private static bool IsValid(JsonElement test) => test.GetProperty("result").GetString() == "valid";

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate int StringVerify(byte[] encoded, byte[] password, ulong passwordBytes);
}
