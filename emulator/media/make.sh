#!/bin/sh
# Makes the emulator's recordings from nothing but Debian's ffmpeg and the DejaVu fonts:
#
#   camera-{1,2,3}.mp4      H.264 (no B-frames) + AAC-LC mono 16 kHz, 20 windows of 2.048 s = 40.96 s
#   camera-{1,2,3}.mjpeg    one JPEG per window: its first frame
#   camera-{2,3}-b.mp4      the same pictures in H.264 with B-frames, without sound
#   camera-{2,3}-h265.mp4   the same pictures in H.265, without sound
#   sound-48k.mp4           AAC-LC mono 48 kHz, 1920 frames = 40.96 s
#
# `make.sh` makes all of them, `make.sh NAME` one: camera-1, camera-2, camera-3, sound-48k.
#
# Why 2.048 s: at 16 kHz an AAC frame of 1024 samples lasts exactly 64 ms, and so does a video frame at 15.625 fps.
# 32 of each make a window, so both tracks end on the same millisecond, in every timescale in use (1000 in
# Matroska, 16000 in MP4, 90000 in MPEG-TS), and a loop of 20 joins its own beginning without a gap.
#
# Key frames begin every window, and stand within it as irregularly as those of real cameras: 5 to 23 frames apart
# (0.32 to 1.47 s). Every group of pictures is closed. So a fragment may begin at any key frame.
#
# The sound is periodic in one loop; three loops are encoded and the middle one is kept, so that the overlap of the
# transform at the join is the one that the encoder would have made.
#
# The three cameras differ in picture size, too: their codec private data differ, which lets one stand in for another
# when a test changes a camera's codec settings.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mono=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf
sans=/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf
loop=40.96
# How many frames each group of pictures has, window by window.
groups="14 18  9 23  12 12 8  16 16  5 22 5  21 11  7 15 10  23 9  13 19  6 8 18
        17 15  5 9 6 12  20 12  11 21  15 17  8 6 5 13  22 10  18 14  10 15 7  19 13"
keys=$(echo "$groups" | tr -s ' \n' '\n' | awk 'NF { printf "%s%.3f", at ? "," : "", at * 0.064; at += $1 }')
quiet="-hide_banner -loglevel error -nostdin -y"

# Encodes the pictures with the key frames above.
encode() { # arguments of ffmpeg
    # shellcheck disable=SC2086
    ffmpeg $quiet -i "$work/pictures.mkv" -threads 1 -fps_mode passthrough -force_key_frames "$keys" \
        -video_track_timescale 16000 -map_metadata -1 -bitexact -movflags +faststart "$@"
}

camera() { # number, title, size, top and bottom colour, tone in Hz times 0.04096, beep tone, profile
    number=$1 title=$2 width=$3 height=$4 top=$5 bottom=$6 tone=$7 profile=$8
    unit=$((height / 18))

    # A still gradient costs almost nothing; a figure walks through once per loop, a second hand turns once a fragment.
    picture="gradients=s=${width}x${height}:r=15.625:d=$loop:c0=$top:c1=$bottom:x0=0:y0=0:x1=$((width / 3)):y1=$height:nb_colors=2:speed=0.00001:seed=7"
    draw="drawbox=x=0:y=ih*0.72:w=iw:h=ih*0.28:c=black@0.25:t=fill"
    draw="$draw,drawbox=x=iw*0.08:y=ih*0.30:w=iw*0.16:h=ih*0.42:c=black@0.35:t=fill"
    draw="$draw,drawbox=x=iw*0.70:y=ih*0.22:w=iw*0.20:h=ih*0.50:c=white@0.10:t=fill"
    draw="$draw,drawtext=fontfile=$sans:text='●':fontsize=$((unit * 4)):fontcolor=0xf2e6c9:x='-tw+(w+2*tw)*mod(t,$loop)/$loop':y='h*0.58+6*sin(t*6.136)'"
    draw="$draw,drawtext=fontfile=$sans:text='$title':fontsize=$((unit * 2)):fontcolor=white:box=1:boxcolor=black@0.5:boxborderw=$((unit / 2)):x=$unit:y=$unit"
    draw="$draw,drawtext=fontfile=$mono:text='%{pts\:hms}':fontsize=$((unit * 2)):fontcolor=white:box=1:boxcolor=black@0.5:boxborderw=$((unit / 2)):x=w-tw-$unit:y=$unit"
    draw="$draw,drawtext=fontfile=$mono:text='fragment %{eif\:floor(n/32)+1\:d\:2} of 20':fontsize=$((unit * 3 / 2)):fontcolor=white:box=1:boxcolor=black@0.5:boxborderw=$((unit / 2)):x=$unit:y=h-th-$unit"
    draw="$draw,drawtext=fontfile=$mono:text='frame %{eif\:mod(n,32)+1\:d\:2}':fontsize=$((unit * 3 / 2)):fontcolor=white:box=1:boxcolor=black@0.5:boxborderw=$((unit / 2)):x=w-tw-$unit:y=h-th-$unit"
    # shellcheck disable=SC2086
    ffmpeg $quiet -f lavfi -i "$picture" -vf "$draw,format=yuv420p" -frames:v 640 -fps_mode passthrough \
        -c:v ffv1 "$work/pictures.mkv"
    encode -c:v libx264 -preset veryslow -tune stillimage -profile:v "$profile" -crf 36 -bf 0 \
        -x264-params "keyint=infinite:scenecut=0:bframes=0:ref=2:repeat-headers=0:aud=0" -bsf:v filter_units=remove_types=6 \
        "$work/video.mp4"
    if [ "$number" != 1 ]; then
        encode -c:v libx264 -preset veryslow -tune stillimage -profile:v "$profile" -crf 36 -bf 2 \
            -x264-params "keyint=infinite:scenecut=0:open-gop=0:b-pyramid=none:b-adapt=0:ref=2:repeat-headers=0:aud=0" \
            -bsf:v filter_units=remove_types=6 "camera-$number-b.mp4"
        encode -c:v libx265 -preset slow -crf 37 -tag:v hvc1 \
            -x265-params "keyint=-1:scenecut=0:open-gop=0:bframes=0:ref=2:repeat-headers=0:info=0:log-level=error" \
            -forced-idr 1 -bsf:v filter_units=remove_types=39 "camera-$number-h265.mp4"
    fi
    # The JPEGs show what the video shows, at the first frame of each fragment.
    # shellcheck disable=SC2086
    ffmpeg $quiet -i "$work/video.mp4" -vf "select='not(mod(n,32))'" -fps_mode passthrough -c:v mjpeg -q:v 8 \
        -huffman optimal -bitexact -f image2pipe "camera-$number.mjpeg"

    # A soft hum, and a beep of 0.128 s at the start of each fragment. Frequencies are whole turns per loop.
    hum="0.05*sin(2*PI*$tone/$loop*t)+0.02*sin(2*PI*2*$tone/$loop*t)"
    beep="0.12*sin(2*PI*4*$tone/$loop*t)*lt(mod(t,2.048),0.128)*sin(PI*mod(t,2.048)/0.128)"
    # shellcheck disable=SC2086
    ffmpeg $quiet -f lavfi -i "aevalsrc='$hum+$beep':s=16000:c=mono:d=122.88" -c:a aac -b:a 24k -bitexact "$work/three.aac"
    # shellcheck disable=SC2086
    ffmpeg $quiet -i "$work/three.aac" -c copy -bsf:a "noise=drop='lt(n,641)+gte(n,1281)'" "$work/one.aac"

    # shellcheck disable=SC2086
    ffmpeg $quiet -i "$work/video.mp4" -i "$work/one.aac" -map 0:v -map 1:a -c copy -bitexact -map_metadata -1 \
        -movflags +faststart -use_editlist 0 "camera-$number.mp4"
    for track in v a; do
        packets=$(ffprobe -v error -select_streams $track:0 -count_packets -show_entries stream=nb_read_packets \
            -of csv=p=0 "camera-$number.mp4")
        [ "$packets" = 640 ] || { echo "camera-$number: $packets packets in track $track, 640 wanted" >&2; exit 1; }
    done
}

sound() { # sound at 48 kHz, as microphones of cameras often have it
    hum="0.05*sin(2*PI*9011/$loop*t)+0.02*sin(2*PI*18022/$loop*t)"
    beep="0.12*sin(2*PI*36044/$loop*t)*lt(mod(t,2.048),0.128)*sin(PI*mod(t,2.048)/0.128)"
    # shellcheck disable=SC2086
    ffmpeg $quiet -f lavfi -i "aevalsrc='$hum+$beep':s=48000:c=mono:d=122.88" -c:a aac -b:a 24k -bitexact "$work/three.aac"
    # shellcheck disable=SC2086
    ffmpeg $quiet -i "$work/three.aac" -c copy -bsf:a "noise=drop='lt(n,1921)+gte(n,3841)'" "$work/one.aac"
    # shellcheck disable=SC2086
    ffmpeg $quiet -i "$work/one.aac" -c copy -bitexact -map_metadata -1 -movflags +faststart -use_editlist 0 sound-48k.mp4
}

make() {
    case $1 in
    camera-1) camera 1 'LOBBY'   640 360 0x1f4e79 0x7fb2d9 9011  baseline ;;
    camera-2) camera 2 'LOADING' 512 288 0x5b3a1e 0xd9a066 12001 main ;;
    camera-3) camera 3 'GARDEN'  480 270 0x1e4d2b 0x8fce7a 15013 high ;;
    sound-48k) sound ;;
    *) echo "no recording is named $1" >&2; exit 2 ;;
    esac
}

for name in ${*:-camera-1 camera-2 camera-3 sound-48k}; do make "$name"; done
ls -l camera-* sound-*
