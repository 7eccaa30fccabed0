#!/bin/sh
# Makes the emulator's recordings from nothing but Debian's ffmpeg and the DejaVu fonts:
#
#   camera-{1,2,3}.mp4    H.264 (no B-frames) + AAC-LC mono 16 kHz, 20 fragments of 2.048 s = 40.96 s
#   camera-{1,2,3}.mjpeg  one JPEG per fragment: its first frame
#
# Why 2.048 s: at 16 kHz an AAC frame of 1024 samples lasts exactly 64 ms, and so does a video frame at 15.625 fps.
# 32 of each make a fragment, so both tracks end on the same millisecond, in every timescale in use (1000 in
# Matroska, 16000 in MP4, 90000 in MPEG-TS), and a loop of 20 joins its own beginning without a gap.
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
quiet="-hide_banner -loglevel error -nostdin -y"

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
        -c:v libx264 -preset veryslow -tune stillimage -profile:v "$profile" -crf 30 -bf 0 -threads 1 \
        -x264-params "keyint=32:min-keyint=32:scenecut=0:bframes=0:ref=2:repeat-headers=0:aud=0" \
        -bsf:v filter_units=remove_types=6 -video_track_timescale 16000 "$work/video.mp4"
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

camera 1 'LOBBY'   640 360 0x1f4e79 0x7fb2d9 9011  baseline
camera 2 'LOADING' 512 288 0x5b3a1e 0xd9a066 12001 main
camera 3 'GARDEN'  480 270 0x1e4d2b 0x8fce7a 15013 high
ls -l camera-*
