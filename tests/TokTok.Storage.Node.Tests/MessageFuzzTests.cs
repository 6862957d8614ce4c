using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>Every reader of what a peer sends, over valid messages that were changed: it reads exactly what its writer would write, or says that this is damage; and it takes no more memory than a message may.</summary>
public sealed class MessageFuzzTests
{
    private const int Slice = 128 * 1024;
    private static readonly int s_rounds = Environment.GetEnvironmentVariable("TDFS_LONG") == "1" ? 2_000_000 : 20_000;

    public static TheoryData<string> Readers => ["put-begin", "record", "hello", "join", "window", "certificate", "statements", "revoked devices", "peer list", "repair capability"];

    [Theory]
    [MemberData(nameof(Readers))]
    public void A_changed_message_is_read_as_what_it_says_or_refused(string reader)
    {
        (byte[] sample, Func<byte[], byte[]?> again) = Sample(reader);
        Assert.Equal(sample, again(sample));
        int refused = 0;
        for (int seed = 0; seed < s_rounds; seed++)
        {
            byte[] changed = Change(sample, new SeededRandom(seed));
            long before = GC.GetAllocatedBytesForCurrentThread();
            byte[]? rewritten;
            try
            {
                rewritten = again(changed);
            }
            catch (DamagedFormatException damage)
            {
                Assert.DoesNotContain('\n', damage.Message);
                refused++;
                rewritten = null;
            }
            catch (Exception other)
            {
                Assert.Fail($"{reader}, seed {seed}: {other.GetType().Name}: {other.Message}");
                return;
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(allocated < (20L * changed.Length) + 100_000, $"{reader}, seed {seed}: {allocated} bytes for {changed.Length}");
            if (rewritten is not null)
            {
                Assert.True(rewritten.AsSpan().SequenceEqual(changed), $"{reader}, seed {seed}: read as something else");
            }
        }

        Assert.True(refused > s_rounds / 4, $"{reader}: {refused} refused");
    }

    /// <summary>A message, and what reads one and writes it again; null from it: it is not one, and nothing more can be said.</summary>
    private static (byte[] Message, Func<byte[], byte[]?> Again) Sample(string reader)
    {
        FragmentData fragment = ServedNode.Fragment(3, Slice, 1);
        var id = ArenaId.Read(new SeededRandom(2).Bytes(ArenaId.Size));
        HeldFragment[] held = [new(1, ServedNode.Fragment(1, Slice, 5).Name), new(3, fragment.Name), new(4, ServedNode.Fragment(4, Slice, 6).Name)];
        switch (reader)
        {
            case "put-begin":
                return (Written(new PutTable(id, true, 4, 3, Slice, held).Write), static bytes => Written(PutTable.Read(bytes).Write));
            case "record":
                return (Written(writer => ArenaRecords.Write(writer, new HeldArena(id, 4, 3, Slice, held, true, true))), bytes =>
                {
                    var from = new FieldReader(bytes, "record");
                    (HeldArena? arena, string? damage, _) = ArenaRecords.Read(ref from, id);
                    from.End();
                    return damage is null ? Written(writer => ArenaRecords.Write(writer, arena)) : null; // a line may hold what is no UTF-8
                });
            case "hello":
                var hello = new HelloAnswer { Holder = HolderId.Read(new SeededRandom(1).Bytes(16)), QuotaBytes = 1L << 40, FragmentBytes = 5, ObjectBytes = 6, RoomBytes = 7, ReleasedCount = 8, ReleasedBytes = 9, ClockSeconds = -1, Program = "1.0" };
                return (hello.Write(), static bytes =>
                {
                    byte[] written = HelloAnswer.Read(bytes).Write();
                    return IsAscii(bytes.AsSpan(written.Length - 3)) ? written : null; // other text may be no UTF-8
                });
            case "join":
                var offer = new JoinOffer(1L << 40, "ann", [new NodeAddress("192.0.2.7", 4919), new NodeAddress("box.example.org", 1)]);
                return (Written(offer.Write), static bytes =>
                {
                    var from = new FieldReader(bytes, "join");
                    JoinOffer read = JoinOffer.Read(ref from);
                    byte[] written = Written(read.Write);
                    from = new FieldReader(written, "join");
                    Assert.Equal(written, Written(JoinOffer.Read(ref from).Write)); // an address may be written in several ways
                    return written.Length == bytes.Length && IsAscii(bytes.AsSpan(8)) ? bytes : null;
                });
            case "window":
                int windowBytes = FragmentWindows.BytesOf(Slice, Blake3.GroupSize, 4 * Blake3.GroupSize, proven: true);
                byte[] window = [FragmentWindows.Proven, 0, 0, 0, .. BitConverter.GetBytes(windowBytes), .. new byte[windowBytes]];
                FragmentWindows.Write(window.AsSpan(FragmentWindows.HeadBytes), Slice, Blake3.GroupSize, fragment.Bytes.Span.Slice(Blake3.GroupSize, 4 * Blake3.GroupSize), fragment.GroupHashes.ToArray());
                return (window, bytes =>
                {
                    int taken = 0;
                    byte[] target = new byte[4 * Blake3.GroupSize];
                    ValueTask<(int Read, bool IsRight)> reading = FragmentWindows.ReadAsync(
                        room =>
                        {
                            if (bytes.Length - taken < room.Length)
                            {
                                throw new DamagedFormatException("window: ends early");
                            }

                            bytes.AsSpan(taken, room.Length).CopyTo(room.Span);
                            taken += room.Length;
                            return default;
                        },
                        Slice, Blake3.GroupSize, target, fragment.Name);
                    (int read, bool isRight) = reading.GetAwaiter().GetResult(); // of bytes that are there
                    if (taken < bytes.Length)
                    {
                        throw new DamagedFormatException("window: bytes follow its end");
                    }

                    isRight = isRight && read == target.Length;
                    Assert.Equal(isRight, bytes.AsSpan().SequenceEqual(window)); // nothing else proves itself
                    return isRight ? window : null;
                });
            case "certificate":
                using (var ann = new TestDevice("ann"))
                {
                    byte[] key = new SeededRandom(4).Bytes(91);
                    byte[] octets = ann.Tls.Octets(key);
                    return (octets, bytes => NodeIdentity.TryRead(bytes, key) is null ? null : octets);
                }

            case "statements":
                using (var ann = new TestDevice("ann"))
                {
                    return (Revocation.Write([ann.Says(2), ann.Says(3)]).ToArray(), static bytes => Revocation.Read(bytes) is var all && all.All(static said => IsAscii(System.Text.Encoding.UTF8.GetBytes(said.Signer.DeviceName))) ? Revocation.Write([.. all]).ToArray() : null);
                }

            case "revoked devices":
                return (RevokedDevices.None.With([(1, 2), (1, 7), (3, 4)]).Write(), static bytes => RevokedDevices.Read(bytes, "file").Write());

            case "repair capability":
                using (var ann = new TestDevice("ann"))
                {
                    var capability = RepairCapability.Read(RepairTests.Capability(ann, default, id, held));
                    return (Written(capability.WriteContents), static bytes => Written(RepairCapability.ReadContents(bytes).WriteContents));
                }

            default:
                var list = new PeerList
                {
                    Peers = [new Peer { AccountKey = Bytes32.Read(new SeededRandom(1).Bytes(32)), DeviceKey = Bytes32.Read(new SeededRandom(2).Bytes(32)), Name = "ann", Place = "hill", KeptForIt = 1, Holder = HolderId.Read(new SeededRandom(1).Bytes(16)), Addresses = ["192.0.2.7:4919"] }],
                    Invitations = [new Invitation { SecretHash = Bytes32.Read(new SeededRandom(3).Bytes(32)), MadeAtSeconds = 1, ExpiresAtSeconds = 2, KeptForIt = 3, Name = "carol", Place = "lake" }],
                };
                return (Written(list.Write), static bytes => Written(PeerList.Read(bytes).Write));
        }
    }

    private static bool IsAscii(ReadOnlySpan<byte> bytes) => bytes.IndexOfAnyExceptInRange((byte)0, (byte)127) < 0;

    private static byte[] Written(Action<FieldWriter> write)
    {
        var writer = new FieldWriter();
        write(writer);
        return writer.ToArray();
    }

    /// <summary>One to four changes: a bit, a byte or a number at its limits, a piece cut out, doubled or put in, an end cut off or put on.</summary>
    private static byte[] Change(byte[] message, SeededRandom random)
    {
        List<byte> bytes = [.. message];
        for (int change = 1 + random.Next(4); change > 0; change--)
        {
            int at = random.Next(bytes.Count + 1);
            int count = Math.Min(bytes.Count - at, 1 + random.Next(40));
            switch (random.Next(7))
            {
                case 0 when at < bytes.Count:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when at < bytes.Count:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    byte extreme = random.Next(2) == 0 ? (byte)0 : (byte)0xFF;
                    for (int i = 0; i < Math.Min(count, 8); i++)
                    {
                        bytes[at + i] = extreme;
                    }

                    break;
                case 3:
                    bytes.RemoveRange(at, count);
                    break;
                case 4:
                    bytes.InsertRange(at, bytes.GetRange(at, count));
                    break;
                case 5:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                default:
                    bytes.InsertRange(at, random.Bytes(1 + random.Next(40)));
                    break;
            }
        }

        return [.. bytes];
    }
}
