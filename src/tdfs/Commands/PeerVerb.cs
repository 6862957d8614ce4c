using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs peer`: who keeps fragments for whom.</summary>
internal static class PeerVerb
{
    /// <summary>A rate below this one would run into the time-outs of the protocol.</summary>
    private const long MinRate = 64 * 1024;

    internal static Verb Create(VerbContext context)
    {
        Verb peer = new(
            "peer",
            "Invites, shows and changes the machines that keep fragments for each other",
            "tdfs peer invite --keep \"100 GiB\"    # on one machine: prints a code that serves once",
            "tdfs peer accept CODE --keep \"50 GiB\"   # on the other one",
            "tdfs peer list");
        peer.Add(Invite(context));
        peer.Add(Accept(context));
        peer.Add(List(context));
        peer.Add(Set(context));
        peer.Add(Revoke(context));
        peer.Add(Leave(context));
        peer.Add(PeerAuditVerb.Create(context));
        return peer;
    }

    private static Verb Invite(VerbContext context)
    {
        Option<string?> keep = KeepOption();
        Option<string?> absence = AbsenceOption();
        Option<string?> validFor = new("--for") { Description = "How long the code can be used; a day unless said otherwise", HelpName = "duration" };
        Option<string?> name = NameOption();
        Option<string?> place = PlaceOption();
        Verb invite = new("invite", "Prints a code for one other machine", "tdfs peer invite --keep \"100 GiB\" --name bob --for 2h") { keep, validFor, absence, name, place };
        invite.Does(context, async (run, cancel) =>
        {
            TimeSpan duration = Duration(run, validFor) ?? TimeSpan.FromDays(1);
            if (duration <= TimeSpan.Zero || duration > TimeSpan.FromDays(365))
            {
                throw new UserError(ExitCode.Usage, $"found --for '{run.Get(validFor)}', expected up to 365d");
            }

            var request = new InviteRequest { KeptBytes = Size(run, keep), ValidFor = duration, AbsenceDays = Absence(run, absence), Name = NameOf(run, name), Place = NameOf(run, place) };
            using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
            InviteResult result = await peers.InviteAsync(request, cancel).ConfigureAwait(false);
            run.Output.Result(
                json =>
                {
                    json.WriteString("code", result.Code);
                    json.WriteString("expires", Show.IsoTime(result.ExpiresAtSeconds * 1_000_000_000));
                    json.WriteNumber("keptForItBytes", result.KeptBytes);
                    Report.WriteList(json, "addresses", result.Addresses);
                },
                text => text.WriteLine(result.Code));
            run.Output.Say($"for one machine, within {Show.Duration(duration)}: `tdfs peer accept` there; {Show.Size(result.KeptBytes)} are kept for it here, and it dials {string.Join(" or ", result.Addresses)}, where `tdfs up` or `tdfs node` must run");
            return ExitCode.Ok;
        });
        return invite;
    }

    private static Verb Accept(VerbContext context)
    {
        Option<string?> absence = AbsenceOption();
        Argument<string[]> code = new("code") { Description = "As `tdfs peer invite` printed it", Arity = ArgumentArity.OneOrMore };
        Option<string?> keep = KeepOption();
        Option<string?> name = NameOption();
        Option<string?> place = PlaceOption();
        Option<string?> country = CountryOption();
        Option<string?> via = ViaOption("The peer that puts us through to the inviter, should nobody be able to dial it");
        Verb accept = new("accept", "Takes up an invitation: each machine then knows the other", "tdfs peer accept CODE --name ann") { code, keep, absence, name, place, country, via };
        accept.Does(context, async (run, cancel) =>
        {
            var request = new AcceptRequest { Code = string.Join(' ', run.Get(code)), KeptBytes = Size(run, keep), AbsenceDays = Absence(run, absence), Name = NameOf(run, name), Place = NameOf(run, place), Country = CountryOf(run, country), Via = run.Get(via) };
            using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
            PeerInfo peer = await peers.AcceptAsync(request, cancel).ConfigureAwait(false);
            Tell(run, peer, $"{peer.Name} keeps {Show.Size(peer.KeptForUsBytes)} for this machine, and {Show.Size(peer.KeptForItBytes)} are kept for it; {(peer.IsOutside ? $"nothing goes there while it lies outside [store] countries: `tdfs peer set {peer.Name} --country` says where it is" : $"the next import uses it as place {peer.Place}")}");
            return ExitCode.Ok;
        });
        return accept;
    }

    private static Verb List(VerbContext context)
    {
        Verb list = new("list", "Shows every peer: what each keeps for the other, and whether it answers", "tdfs peer list", "tdfs peer list --json");
        list.Does(context, async (run, cancel) =>
        {
            using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
            PeerListing listing = await peers.ListAsync(cancel).ConfigureAwait(false);
            run.Output.Result(
                json =>
                {
                    json.WriteStartArray("peers");
                    foreach (PeerInfo peer in listing.Peers)
                    {
                        json.WriteStartObject();
                        Write(json, peer);
                        json.WriteEndObject();
                    }

                    json.WriteEndArray();
                    json.WriteNumber("openInvitations", listing.OpenInvitationCount);
                },
                text => Write(text, listing, run.Output.Clock));
            return listing.Peers.Any(static peer => peer.Problem is not null) ? ExitCode.Reported : ExitCode.Ok;
        });
        return list;
    }

    private static Verb Set(VerbContext context)
    {
        Argument<string> name = new("name") { Description = "Its name, as `tdfs peer list` shows it" };
        Option<string?> keep = KeepOption();
        Option<string?> newName = NameOption();
        Option<string?> place = PlaceOption();
        Option<string?> country = CountryOption();
        Option<string?> up = new("--send") { Description = "Bytes a second to it at most, such as \"1 MiB\"; \"0\": no limit", HelpName = "rate" };
        Option<string?> down = new("--receive") { Description = "Bytes a second from it at most; \"0\": no limit", HelpName = "rate" };
        Option<string?> relay = new("--relay") { Description = "Bytes a day that are put through for it, to nodes that nobody can dial; \"0\": none", HelpName = "size" };
        Option<string?> via = ViaOption("The peer that puts us through to it, should nobody be able to dial it; none: no peer");
        Option<string?> absence = AbsenceOption();
        Option<string?> ends = new("--ends-in") { Description = "It is let in no more after this time; \"0s\": never", HelpName = "duration" };
        Option<string[]> addresses = new("--address") { Description = "Dial it here from now on; may be given several times", HelpName = "host:port" };
        Option<bool> cancelReleases = new("--cancel-releases") { Description = "Take back whatever this account released there in the last 30 days" };
        Option<bool> forgive = new("--forgive") { Description = "What it failed audits in counts no more: it is a holder as one that is new" };
        Verb set = new("set", "Changes what is kept for a peer, its name, place, country, addresses or rates", "tdfs peer set bob --keep \"200 GiB\" --send \"1 MiB\"") { name, keep, newName, place, country, up, down, relay, via, absence, ends, addresses, cancelReleases, forgive };
        set.Does(context, async (run, cancel) =>
        {
            string[] dialled = run.Get(addresses) ?? [];
            if (dialled.Length > Peer.MaxAddresses || dialled.FirstOrDefault(static each => !NodeAddress.TryParse(each, out _)) is not null)
            {
                throw new UserError(ExitCode.Usage, $"found --address '{string.Join("', '", dialled)}', expected at most {Peer.MaxAddresses} of host and port such as box.example.org:4919");
            }

            var request = new SetPeerRequest
            {
                Name = run.Get(name),
                NewName = NameOf(run, newName),
                Place = NameOf(run, place),
                Country = CountryOf(run, country),
                KeptBytes = Size(run, keep),
                SendRate = Rate(run, up),
                ReceiveRate = Rate(run, down),
                RelayADay = Size(run, relay),
                Via = run.Get(via),
                EndsIn = Duration(run, ends),
                AbsenceDays = Absence(run, absence),
                Addresses = dialled,
            };
            bool cancels = run.Get(cancelReleases);
            bool forgives = run.Get(forgive);
            if (!cancels && !forgives && request == new SetPeerRequest { Name = request.Name, Addresses = dialled } && dialled.Length == 0)
            {
                throw new UserError(ExitCode.Usage, "found nothing to change, expected an option; `tdfs peer set --help` lists them");
            }

            using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
            PeerInfo peer = await peers.SetAsync(request, cancel).ConfigureAwait(false);
            if (forgives)
            {
                await peers.ForgiveAsync(peer.Name, cancel).ConfigureAwait(false);
            }

            long taken = cancels ? await peers.CancelReleasesAsync(peer.Name, cancel).ConfigureAwait(false) : 0;
            Tell(run, peer, cancels ? $"{peer.Name}: {Show.Count(taken, "arena")} taken back" : $"{peer.Name}: {Show.Size(peer.KeptForItBytes)} kept for it, place {peer.Place}{(peer.Country is { } where ? $" in {where}" : "")}{(peer.IsOutside ? ", where nothing of this store may lie ([store] countries)" : "")}{(peer.AbsenceDays > 0 ? $"; released after {peer.AbsenceDays} days without a word of it, and a month of grace" : "")}");
            return ExitCode.Ok;
        });
        return set;
    }

    private static Verb Revoke(VerbContext context)
    {
        Argument<string> name = new("name") { Description = "Its name, as `tdfs peer list` shows it" };
        Verb revoke = new("revoke", "Lets a peer in no more, and asks it for nothing; what is kept here for it stays until you delete it", "tdfs peer revoke bob") { name };
        revoke.Does(context, async (run, cancel) =>
        {
            using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
            PeerInfo peer = await peers.RevokeAsync(run.Get(name), cancel).ConfigureAwait(false);
            Tell(run, peer, $"{peer.Name} is revoked: a running node lets it in no more from two seconds on, and `tdfs repair` moves what it kept for this store");
            return ExitCode.Ok;
        });
        return revoke;
    }

    private static Verb Leave(VerbContext context)
    {
        Argument<string> name = new("name") { Description = "Its name, as `tdfs peer list` shows it" };
        Option<bool> stay = new("--stay") { Description = "Not after all: it is a holder as before" };
        Verb leave = new("leave", "Moves everything of this store away from a peer, and then gives it up; what we keep for it stays", "tdfs peer leave bob", "tdfs peer leave bob --stay   # not after all") { name, stay };
        leave.Does(context, async (run, cancel) =>
        {
            string peer = run.Get(name);
            if (run.Get(stay))
            {
                using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
                Tell(run, await peers.StayAsync(peer, cancel).ConfigureAwait(false), $"{peer} stays a holder of this store; what was moved from it stays where it went");
                return ExitCode.Ok;
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel, takesTurns: true).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                LeaveResult left = await store.LeaveAsync(peer, progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                Tell(run, left.Peer, $"{peer} has nothing of this store that is needed any more, and is given up; {Show.Size(left.MovedBytes)} went elsewhere");
                return Report.Problems(run.Output, left.Problem is null ? [] : [$"{left.Problem}; it was not told that it may delete what it has"]) ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return leave;
    }

    private static Option<string?> KeepOption() => new("--keep") { Description = "How much is kept for it here, such as \"100 GiB\"; [node] quota unless said otherwise", HelpName = "size" };

    private static Option<string?> AbsenceOption() => new("--absence") { Description = "How long what it keeps here stays without a word of it, such as \"365d\"; \"0s\", as unless said otherwise: until you say so", HelpName = "duration" };

    private static Option<string?> NameOption() => new("--name") { Description = "What to call it; as it calls itself unless said otherwise", HelpName = "name" };

    private static Option<string?> ViaOption(string description) => new("--via") { Description = description, HelpName = "name" };

    private static Option<string?> PlaceOption() => new("--place") { Description = "What it is lost together with, a household say; a place of its own unless said otherwise", HelpName = "place" };

    private static Option<string?> CountryOption() => new("--country") { Description = "Where it lies: two letters such as DE, for [store] countries; none: nobody knows", HelpName = "country" };

    private static void Tell(VerbRun run, PeerInfo peer, string sentence) => run.Output.Result(json => Write(json, peer), text => text.WriteLine(sentence));

    private static void Write(Utf8JsonWriter json, PeerInfo peer)
    {
        json.WriteString("name", peer.Name);
        json.WriteString("place", peer.Place);
        if (peer.Country is not null)
        {
            json.WriteString("country", peer.Country);
        }

        json.WriteString("fingerprint", peer.Fingerprint);
        Report.WriteList(json, "addresses", peer.Addresses);
        json.WriteNumber("keptForItBytes", peer.KeptForItBytes);
        json.WriteNumber("keptForUsBytes", peer.KeptForUsBytes);
        json.WriteNumber("sendRate", peer.SendRate);
        json.WriteNumber("receiveRate", peer.ReceiveRate);
        json.WriteNumber("relayADayBytes", peer.RelayADayBytes);
        json.WriteNumber("absenceDays", peer.AbsenceDays);
        if (peer.AbsenceForUsDays is uint absence)
        {
            json.WriteNumber("absenceForUsDays", absence);
        }

        json.WriteBoolean("revoked", peer.IsRevoked);
        json.WriteBoolean("ended", peer.HasEnded);
        json.WriteBoolean("leaving", peer.IsLeaving);
        if (peer.IsOutside)
        {
            json.WriteBoolean("outside", true);
        }

        if (peer.EndsAtSeconds > 0)
        {
            json.WriteString("ends", Show.IsoTime(peer.EndsAtSeconds * 1_000_000_000));
        }

        if (peer.UsedBytes is long used)
        {
            json.WriteNumber("usedBytes", used);
            json.WriteNumber("releasedBytes", peer.ReleasedBytes ?? 0);
        }

        if (peer.Evidence is not null)
        {
            Report.WriteEvidence(json, peer.Evidence);
        }

        if (peer.Ledger is { } ledger)
        {
            json.WriteStartObject("ledger");
            json.WriteString("since", Show.IsoTime(ledger.SinceSeconds * 1_000_000_000));
            json.WriteNumber("keptForUsByteHours", ledger.KeptForUs);
            json.WriteNumber("keptForItByteHours", ledger.KeptForIt);
            json.WriteNumber("sentToItBytes", ledger.SentToIt);
            json.WriteNumber("cameFromItBytes", ledger.CameFromIt);
            json.WriteNumber("broughtByItBytes", ledger.BroughtByIt);
            json.WriteNumber("takenByItBytes", ledger.TakenByIt);
            json.WriteNumber("auditsPassed", ledger.AuditsPassed);
            json.WriteNumber("auditsFailed", ledger.AuditsFailed);
            json.WriteEndObject();
        }

        if (peer.Problem is not null)
        {
            json.WriteString("problem", peer.Problem);
        }
    }

    private static void Write(TextWriter text, PeerListing listing, TimeProvider clock)
    {
        bool hasCountries = listing.Peers.Any(static peer => peer.Country is not null || peer.IsOutside);
        Table table = new(["PEER", "PLACE", .. hasCountries ? ["COUNTRY"] : (string[])[], ">KEPT FOR IT", ">KEEPS FOR US", ">OF THAT USED", ">RELEASED", ">WHILE AWAY", "AT", ""]);
        foreach (PeerInfo peer in listing.Peers)
        {
            string state = peer.IsRevoked ? "REVOKED" : peer.HasEnded ? "ENDED" : peer.IsLeaving ? "LEAVING" : peer.IsOutside ? "OUTSIDE" : peer.Problem is not null ? "DOES NOT ANSWER" : "";
            table.Add(
            [
                peer.Name,
                peer.Place,
                .. hasCountries ? [peer.Country ?? "-"] : (string[])[],
                Show.Size(peer.KeptForItBytes),
                Show.Size(peer.KeptForUsBytes),
                peer.UsedBytes is long used ? Show.Size(used) : "-",
                peer.ReleasedBytes is long released ? Show.Size(released) : "-",
                peer.AbsenceForUsDays switch { null => "-", 0 => "kept", uint days => $"{days} days" },
                peer.Addresses.Count > 0 ? string.Join(' ', peer.Addresses) : "-",
                state,
            ]);
        }

        table.Write(text);
        if (listing.Peers.Any(static peer => peer.Evidence is not null))
        {
            Table seen = new("PEER", ">AUDITS PASSED", ">FAILED", "TRUTH", "UPTIME", "PROVEN", "HEARD", "");
            foreach (PeerInfo peer in listing.Peers)
            {
                if (peer.Evidence is { } evidence)
                {
                    seen.Add(
                        peer.Name,
                        Show.Count((long)Math.Min(evidence.Passed, long.MaxValue)),
                        Show.Count((long)Math.Min(evidence.Failed, long.MaxValue)),
                        Percent(evidence.TruthPercent),
                        Percent(evidence.UptimePercent),
                        Show.Ago(evidence.ProvenAtSeconds, clock),
                        Show.Ago(evidence.HeardAtSeconds, clock),
                        evidence.Standing == HolderStanding.Good ? "" : Report.Standing(evidence.Standing).ToUpperInvariant());
                }
            }

            text.WriteLine();
            seen.Write(text);
        }

        if (listing.Peers.Any(static peer => peer.Ledger is not null))
        {
            Table given = new("PEER", ">IT KEPT", ">WE KEPT", ">BALANCE", ">WE SENT", ">CAME", ">IT BROUGHT", ">IT TOOK");
            foreach (PeerInfo peer in listing.Peers)
            {
                if (peer.Ledger is { } ledger)
                {
                    given.Add(
                        peer.Name,
                        ByteDays((Int128)ledger.KeptForUs),
                        ByteDays((Int128)ledger.KeptForIt),
                        ByteDays(ledger.Balance),
                        Show.Size((long)Math.Min(ledger.SentToIt, long.MaxValue)),
                        Show.Size((long)Math.Min(ledger.CameFromIt, long.MaxValue)),
                        Show.Size((long)Math.Min(ledger.BroughtByIt, long.MaxValue)),
                        Show.Size((long)Math.Min(ledger.TakenByIt, long.MaxValue)));
                }
            }

            text.WriteLine();
            given.Write(text);
        }

        foreach (PeerInfo peer in listing.Peers.Where(static peer => peer.Problem is not null))
        {
            text.WriteLine($"{TerminalText.Clean(peer.Problem!)}");
        }

        if (listing.OpenInvitationCount > 0)
        {
            text.WriteLine($"{Show.Count(listing.OpenInvitationCount, "invitation")} can still be used");
        }
    }

    /// <summary>Byte-hours as "1.50 GiB days".</summary>
    private static string ByteDays(Int128 byteHours) => Show.Size((long)Int128.Clamp(byteHours / 24, -long.MaxValue, long.MaxValue)) + " days";

    private static string Percent(double percent) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{percent:0.0} %");

    private static long? Size(VerbRun run, Option<string?> option) => run.Get(option) switch
    {
        null => null,
        { } text when Units.TryParseSize(text, out long bytes) => bytes,
        { } text => throw new UserError(ExitCode.Usage, $"found {option.Name} '{text}', expected {Units.SizeForm}"),
    };

    private static long? Rate(VerbRun run, Option<string?> option) => Size(run, option) switch
    {
        > 0 and < MinRate => throw new UserError(ExitCode.Usage, $"found {option.Name} '{run.Get(option)}', expected \"64 KiB\" or more, or \"0\" for no limit"),
        var rate => rate,
    };

    private static TimeSpan? Duration(VerbRun run, Option<string?> option) => run.Get(option) switch
    {
        null => null,
        { } text when Units.TryParseDuration(text, out TimeSpan duration) => duration,
        { } text => throw new UserError(ExitCode.Usage, $"found {option.Name} '{text}', expected {Units.DurationForm}"),
    };

    private static uint? Absence(VerbRun run, Option<string?> option) => Duration(run, option) switch
    {
        null => null,
        { Ticks: 0 } => 0,
        { } term when Math.Ceiling(term.TotalDays) is >= Peer.MinAbsenceDays and <= Peer.MaxAbsenceDays and var days => (uint)days,
        _ => throw new UserError(ExitCode.Usage, $"found {option.Name} '{run.Get(option)}', expected \"{Peer.MinAbsenceDays}d\" to \"{Peer.MaxAbsenceDays}d\", or \"0s\" for no term"),
    };

    private static string? CountryOf(VerbRun run, Option<string?> option) => run.Get(option) switch
    {
        null => null,
        "none" => "",
        { } text when CountryLabel.IsOne(text.ToUpperInvariant()) => text.ToUpperInvariant(),
        { } text => throw new UserError(ExitCode.Usage, $"found {option.Name} '{text}', expected two letters such as DE, or none"),
    };

    private static string? NameOf(VerbRun run, Option<string?> option) => run.Get(option) switch
    {
        null => null,
        { } text when Peer.IsName(text) => text,
        { } text => throw new UserError(ExitCode.Usage, $"found {option.Name} '{text}', expected 1 to {Peer.MaxNameCharacters} letters, digits, '.', '_' and '-'"),
    };
}
